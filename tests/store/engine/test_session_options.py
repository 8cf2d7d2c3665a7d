"""Settings that a role or a database may have for a session: none of them changes what is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.orm import Session

from taskdb.client.taskdb import TaskDB
from taskdb.errors import DatabaseCollision
from taskdb.model.bounds import EARLIEST, LATEST
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.outcome import Report
from taskdb.settings.settings import Settings
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.types.declaration import task
from taskdb.types.registry import Registry
from tests.store.tasks import DONE, OOPS, at_once, claim, create, draft, publication, row, running

SETTINGS = {
    "DateStyle": ["'German'", "'SQL, DMY'", "'Postgres, MDY'", "'ISO, YMD'"],
    "IntervalStyle": ["'sql_standard'", "'iso_8601'"],
    "TimeZone": ["'Asia/Kathmandu'", "'America/St_Johns'", "'<+03>-3'", "'Pacific/Kiritimati'"],
    "bytea_output": ["'escape'"],
    "extra_float_digits": ["-15", "0"],
    "standard_conforming_strings": ["off"],
    "backslash_quote": ["off"],
    "escape_string_warning": ["off"],
    "array_nulls": ["off"],
    "quote_all_identifiers": ["on"],
    "xmlbinary": ["'hex'"],
    "default_transaction_isolation": ["'repeatable read'", "'serializable'"],
    "default_transaction_deferrable": ["on"],
    "idle_in_transaction_session_timeout": ["'5s'"],
    "lock_timeout": ["'5s'"],
    "statement_timeout": ["'5s'"],
    "client_encoding": ["'LATIN1'"],
    "lc_messages": ["'C'"],
    "lc_numeric": ["'C'"],
    "jit": ["on"],
    "plan_cache_mode": ["force_generic_plan", "force_custom_plan"],
    "session_replication_role": ["replica"],
    "row_security": ["off"],
    "transform_null_equals": ["on"],
    "synchronous_commit": ["off"],
}
WAYS = [(name, value) for name, values in SETTINGS.items() for value in values]
AT = datetime(2031, 12, 30, 23, 59, 59, 123456, tzinfo=UTC)


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}={way[1]}")
def url(request: pytest.FixtureRequest, postgresql_url: str) -> str:
    """A database with a setting."""
    name, value = request.param
    have(postgresql_url, name, value)
    return postgresql_url


def have(url: str, name: str, value: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        database = url.rsplit("/", 1)[1]
        connection.exec_driver_sql(f"ALTER DATABASE {database} SET {name} = {value}")
    engine.dispose()


def test_a_life_is_the_same_under_every_setting(url: str) -> None:
    with Store(url).closing() as store:
        task_id = create(store, input={"back\\slash": "O'Brien \u00e9 \\n"})
        assert claim(store, task_id)
        assert store.runs.progress(task_id, "token-1", Report(current=1, total=3))
        assert store.outcomes.complete(task_id, "token-1", DONE) == "COMPLETED"
        later = create(store, run_at=AT, deadline_at=AT + timedelta(seconds=1))
        found = store.tasks.get(later, EVERYONE)
        assert (found.run_at, found.deadline_at) == (AT, AT + timedelta(seconds=1))
        assert found.created_at.tzinfo is UTC
        assert datetime.now(UTC) - found.created_at < timedelta(minutes=1)
        assert store.tasks.get(task_id, EVERYONE).input == {"back\\slash": "O'Brien \u00e9 \\n"}
        assert len(store.tasks.history(task_id, EVERYONE)) == 4
        waiting = create(store)
        assert store.publications.mark_queued([publication(store, waiting)]) == {waiting}
        failed = running(store)
        assert store.outcomes.error(failed.id, failed.token, OOPS, timedelta(hours=1)) == "ERRORED"
        parent = store.submissions.create_fan_out(
            draft(), [draft()], FanOutSpec(part_type="sum"), EVERYONE
        ).created.id
        assert store.fan_outs.counts(parent, EVERYONE).total == 1
        assert {one.id for one in store.tasks.page(Filter(), EVERYONE, limit=10)} >= {
            task_id,
            later,
            waiting,
        }
        assert isinstance(store.doctor.drifts(lease=timedelta(minutes=1)), list)


@pytest.fixture
def client(url: str, tmp_path: Any) -> Iterator[TaskDB]:
    with made(url, tmp_path) as taskdb:
        yield taskdb


@contextmanager
def made(url: str, tmp_path: Any) -> Iterator[TaskDB]:
    given = {"TASKDB_DATA_DIR": str(tmp_path), "TASKDB_DATABASE_URL": url}
    registry = Registry()
    task("sum", registry=registry)(lambda a=0: a)
    taskdb = TaskDB(Settings.load(given), registry=registry)
    with taskdb.resting():
        yield taskdb
    taskdb.close()


@pytest.mark.parametrize("driver", ["psycopg"])
def test_a_submit_in_the_callers_transaction_is_the_same_under_every_setting(
    client: TaskDB, url: str, driver: str
) -> None:
    engine = create_engine(url.replace("+psycopg", f"+{driver}"))
    with Session(engine) as session:
        before = settings_of(session.connection())
        made = client.submit_task("sum", run_at=AT, unique_key="a", session=session)
        found = client.submit_task("sum", unique_key="a", on_conflict="keep", session=session)
        many = client.submit_many("sum", [{}, {}], session=session)
        parent = client.submit_fan_out("sum", [{}], session=session)
        # Nothing of the caller's session is changed.
        assert settings_of(session.connection()) == before
        session.commit()
    engine.dispose()
    assert (made.run_at, found.id, found.run_at) == (AT, made.id, AT)
    assert client.get_task(made.id).run_at == AT
    for one in (*many, parent):
        assert client.get_task(one.id).created_at == one.created_at


@pytest.mark.parametrize(
    ("odd", "read"),
    [
        ("infinity", LATEST),
        ("-infinity", EARLIEST),
        ("12026-01-01 00:00:00+00", LATEST),
        ("290000-01-01 00:00:00+00", LATEST),
        ("4000-01-01 00:00:00+00 BC", EARLIEST),
    ],
)
def test_the_caller_reads_a_moment_that_no_program_can_hold_as_a_bound(
    postgresql_url: str, tmp_path: Any, odd: str, read: datetime
) -> None:
    engine = create_engine(postgresql_url)
    with made(postgresql_url, tmp_path) as client, Session(engine) as session:
        first = client.submit_task("sum", unique_key="k", session=session)
        session.execute(
            text("ALTER TABLE taskdb_task DROP CONSTRAINT IF EXISTS taskdb_task_is_bounded")
        )
        session.execute(
            text("UPDATE taskdb_task SET updated_at = CAST(:odd AS TIMESTAMPTZ)"), {"odd": odd}
        )
        found = client.submit_task("sum", unique_key="k", on_conflict="keep", session=session)
        session.rollback()
    engine.dispose()
    assert (found.id, found.updated_at) == (first.id, read)


def settings_of(connection: Connection) -> list[Any]:
    sql = "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'plpgsql.%'"
    return list(connection.execute(text(sql)))


def test_two_claims_at_once_never_collide_under_serializable_transactions(
    postgresql_url: str,
) -> None:
    have(postgresql_url, "default_transaction_isolation", "'serializable'")
    with Store(postgresql_url, pool_size=10).closing() as store:
        level = store.database.query("SHOW transaction_isolation", {})
        assert level[0]["transaction_isolation"] == "read committed"
        ids = [create(store) for _ in range(20)]

        def take(number: int) -> list[bool]:
            return [claim(store, one, f"token-{number}") for one in ids]

        taken = at_once(take, 8)
        assert sum(map(sum, taken)) == len(ids)
        assert {row(store, one)["attempt"] for one in ids} == {1}


@pytest.mark.parametrize("level", ["SERIALIZABLE", "REPEATABLE READ"])
@pytest.mark.parametrize("way", ["one", "many", "fan-out"])
def test_a_collision_in_the_callers_transaction_says_to_repeat_all_of_it(
    postgresql_url: str, tmp_path: Any, level: str, way: str
) -> None:
    with made(postgresql_url, tmp_path) as client:

        def submit(session: Session) -> str:
            if way == "fan-out":
                return client.submit_fan_out("sum", [{}], unique_key="k", session=session).id
            if way == "many":
                return client.submit_many("sum", [{}], unique_key="k", session=session)[0].id
            return client.submit_task("sum", unique_key="k", session=session).id

        engine = create_engine(postgresql_url, isolation_level=level)
        with Session(engine) as mine:
            mine.execute(text("SELECT count(*) FROM taskdb_task"))
            with Session(engine) as theirs:
                first = submit(theirs)
                theirs.commit()
            with pytest.raises(DatabaseCollision, match="repeat the whole transaction") as raised:
                submit(mine)
            assert raised.value.sqlstate == "40001"
            mine.rollback()
            assert submit(mine) == first
            mine.commit()
        engine.dispose()
