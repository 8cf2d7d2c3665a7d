"""Migrations of PostgreSQL that are killed, updates in batches, and checks that rows break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from taskdb.store.engine.migrations import steps as migration_steps
from taskdb.store.engine.migrations import validation
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.engine.migrations.revision import head
from taskdb.store.engine.migrations.steps import SteppedConnection
from tests.processes import Processes
from tests.releases import REPOSITORY, Release
from tests.store.old_schema import indexes_per_day, schema
from tests.waiting import wait_until

# A process that migrates again and again, each time as a child. The child ends itself by SIGKILL
# after the first statement that writes and after which none has ended yet; of these the mark of a
# step is none, since it is in the transaction of the step, or repeats what is there.
DIES = r"""
import os, re, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from taskdb.store.engine.migrations.migrate import migrate

HARMLESS = re.compile(
    r"\s*(SELECT|SHOW|SET|ROLLBACK|INSERT INTO taskdb_migration_step|CREATE TABLE IF NOT EXISTS)\b"
)
DAY = re.compile(r"[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}")
deaths = set()

@event.listens_for(Engine, "after_cursor_execute")
def die(connection, cursor, statement, parameters, context, executemany):
    label = DAY.sub("", statement)
    if not HARMLESS.match(statement) and label not in deaths:
        os.write(writes, label.encode())
        os.kill(os.getpid(), signal.SIGKILL)

while True:
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        migrate(sys.argv[1])
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        deaths.add(pipe.read().decode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != -signal.SIGKILL:
        print(len(deaths), "deaths", flush=True)
        sys.exit(code)
"""


def plain(url: str) -> str:
    return url.replace("+psycopg", "")


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(plain(postgresql_url), autocommit=True) as connection:
        yield connection


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_migration_that_is_killed_after_each_of_its_statements_arrives(
    old_url: str, new_url: str, processes: Processes, tmp_path: Path
) -> None:
    env = Release(REPOSITORY).next(tmp_path / "next").env
    migrating = processes.python("-c", DIES, old_url, env=env, fresh=True)
    assert migrating.wait(300) == 0, migrating.tail()
    deaths, _ = migrating.output.splitlines()[-1].split()
    assert int(deaths) > 25
    assert schema(old_url) == schema(new_url)
    assert len(indexes_per_day(old_url)) == 1


def test_an_index_whose_build_was_killed_is_built_anew(
    old_url: str, new_url: str, next_release: str, processes: Processes, tmp_path: Path
) -> None:
    building = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%'"
    building += " AND wait_event_type = 'Lock' AND datname = current_database()"
    code = f"from taskdb.store.engine.migrations.migrate import migrate; migrate({old_url!r})"
    env = Release(REPOSITORY).next(tmp_path / "next").env
    with psycopg.connect(plain(old_url), autocommit=True) as looking:
        with psycopg.connect(plain(old_url)) as caller:
            caller.execute("LOCK TABLE taskdb_alarm IN ROW EXCLUSIVE MODE")
            migrating = processes.python("-c", code, env=env, fresh=True)
            wait_until(lambda: looking.execute(building).fetchone(), timeout=60)
            found = looking.execute(building).fetchone()
            migrating.kill()
            assert found
            looking.execute("SELECT pg_terminate_backend(%s, 5000)", [found[0]])
        invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indislive"
        assert looking.execute(invalid).fetchone() != (0,)
    assert migrate(old_url) == next_release
    assert schema(old_url) == schema(new_url)


def test_an_index_that_was_dropped_before_the_step_was_marked_is_no_failure(
    old_url: str, next_release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = SteppedConnection._mark

    def cut(self: SteppedConnection, statement: str) -> None:
        if statement.startswith("DROP INDEX"):
            raise KeyboardInterrupt
        mark(self, statement)

    with monkeypatch.context() as patched:
        patched.setattr(SteppedConnection, "_mark", cut)
        with pytest.raises(KeyboardInterrupt):
            migrate(old_url)
    assert migrate(old_url) == next_release


def test_nothing_of_the_steps_is_left_when_the_last_statement_was_cut_off(
    old_url: str, new_url: str, next_release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(self: SteppedConnection, head: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SteppedConnection, "end_steps", cut)
        with pytest.raises(KeyboardInterrupt):
            migrate(old_url)
    assert migrate(old_url) == next_release
    assert schema(old_url) == schema(new_url)


# --- updates ----------------------------------------------------------------------------------


def step(url: str, *statements: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        stepped = SteppedConnection(engine)
        with stepped:
            stepped.begin_steps("9001")
            for statement in statements:
                stepped.exec_driver_sql(statement)
    finally:
        engine.dispose()


@pytest.mark.parametrize("key", ["id", "id, number"])
def test_an_update_holds_the_rows_of_one_batch_at_a_time(
    postgresql_url: str,
    postgresql: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    key: str,
) -> None:
    monkeypatch.setattr(migration_steps, "BATCH_ROWS", 100)
    postgresql.execute(
        "CREATE TABLE many AS SELECT gen_random_uuid() AS id, number, 0 AS value"
        " FROM generate_series(1, 1050) AS made(number)"
    )
    postgresql.execute(f"ALTER TABLE many ADD PRIMARY KEY ({key})")
    update = "UPDATE many SET value = value + 1 WHERE number %% 2 = 0"
    step(postgresql_url, update, update)
    found = postgresql.execute(
        "SELECT value, count(*), count(DISTINCT xmin::text), min(number % 2) FROM many"
        " GROUP BY value ORDER BY value"
    ).fetchall()
    assert [(value, count) for value, count, _, _ in found] == [(0, 525), (1, 525)]
    assert found[1][2] == 11


def test_an_update_waits_for_a_row_of_others_and_counts_no_row_twice(
    postgresql_url: str, postgresql: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_steps, "BATCH_ROWS", 2)
    monkeypatch.setattr(migration_steps, "PAUSE_SECONDS", 0.1)
    postgresql.execute("INSERT INTO taskdb_task (type) SELECT 'x' FROM generate_series(1, 5)")
    monkeypatch.setattr(migration_steps, "PATIENCE_SECONDS", 0.3)
    update = "UPDATE taskdb_task SET name = name || 'new' WHERE name = ''"
    with psycopg.connect(plain(postgresql_url)) as caller:
        last = "(SELECT max(id::text)::uuid FROM taskdb_task)"
        caller.execute(f"UPDATE taskdb_task SET attempt = 7 WHERE id = {last}")
        with pytest.raises(DBAPIError, match="lock timeout"):
            step(postgresql_url, update)
    step(postgresql_url, update)
    assert postgresql.execute("SELECT DISTINCT name FROM taskdb_task").fetchall() == [("new",)]


# --- checks -----------------------------------------------------------------------------------


def unvalidated(connection: psycopg.Connection[Any]) -> list[str]:
    found = connection.execute("SELECT conname FROM pg_constraint WHERE NOT convalidated")
    return [name for (name,) in found]


def break_check(connection: psycopg.Connection[Any]) -> None:
    """A name that is too long, as only a row of before the check can have it."""
    connection.execute(
        "ALTER TABLE taskdb_alarm_policy RENAME CONSTRAINT taskdb_alarm_policy_is_bounded TO c"
    )
    connection.execute(
        "CREATE TABLE kept AS SELECT pg_get_constraintdef(oid) AS definition"
        " FROM pg_constraint WHERE conname = 'c'"
    )
    connection.execute("ALTER TABLE taskdb_alarm_policy DROP CONSTRAINT c")
    connection.execute("INSERT INTO taskdb_alarm_policy (type) VALUES (repeat('x', 1001))")
    (definition,) = connection.execute("SELECT definition FROM kept").fetchone() or ()
    connection.execute("DROP TABLE kept")
    connection.execute(
        "ALTER TABLE taskdb_alarm_policy ADD CONSTRAINT taskdb_alarm_policy_is_bounded"
        f" {definition} NOT VALID"
    )


def test_every_check_is_validated_after_a_migration(
    old_url: str, postgresql: psycopg.Connection[Any], next_release: str
) -> None:
    assert migrate(old_url) == next_release
    assert unvalidated(postgresql) == []


def test_a_row_that_breaks_a_check_is_reported_and_stops_no_migration(
    postgresql_url: str, postgresql: psycopg.Connection[Any]
) -> None:
    break_check(postgresql)
    for _ in range(2):
        with capture_logs() as logs:
            assert migrate(postgresql_url) == head()
        (found,) = [one for one in logs if one["event"] == "check.violated"]
        assert (found["table"], found["rows"]) == ("taskdb_alarm_policy", 1)
        assert found["examples"] == ["x" * 100]
        assert unvalidated(postgresql) == ["taskdb_alarm_policy_is_bounded"]
    postgresql.execute("DELETE FROM taskdb_alarm_policy")
    with capture_logs() as logs:
        migrate(postgresql_url)
    assert not logs
    assert unvalidated(postgresql) == []


def test_a_check_whose_table_is_locked_is_left_to_the_next_migrate(
    postgresql_url: str, postgresql: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "TRIES", 2)
    break_check(postgresql)
    postgresql.execute("DELETE FROM taskdb_alarm_policy")
    with psycopg.connect(plain(postgresql_url)) as other, capture_logs() as logs:
        other.execute("LOCK TABLE taskdb_alarm_policy IN SHARE MODE")
        assert migrate(postgresql_url) == head()
    assert [one["event"] for one in logs] == ["check.postponed"]
    assert migrate(postgresql_url) == head()
    assert unvalidated(postgresql) == []
