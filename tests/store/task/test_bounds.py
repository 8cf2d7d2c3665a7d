"""What the database refuses of rows by plain SQL, and reads of what it has all the same."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from taskdb.model.bounds import EARLIEST, LATEST
from taskdb.model.json_text import encode
from taskdb.model.outcome import Report
from taskdb.store.contract import EVERYONE
from taskdb.store.payload.payload import Payload
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.store.task.list import Cursor
from tests.cases import each
from tests.store.tasks import create, running, write

LEASE = timedelta(seconds=30)
WIDE = "語" * 1_000
UNREAD = ("relay_at", "callback_until")
FAR = datetime(5000, 1, 1, tzinfo=UTC)
NEVER = ["infinity", "-infinity", "10000-01-01T00:00:00Z"]


MOMENTS = [
    *("deadline_at", "run_at", "relay_at", "callback_until", "created_at", "updated_at"),
    *("queued_at", "started_at", "ended_at", "cancel_requested_at"),
]


def write_unbounded(store: Store, sql: str, **given: Any) -> None:
    """Write past the bounds, as a row that was restored from elsewhere may be."""
    with store.database.transaction() as connection:
        if store.database.dialect.name == "postgresql":
            drop = "ALTER TABLE taskdb_task DROP CONSTRAINT IF EXISTS taskdb_task_is_bounded"
            connection.exec_driver_sql(drop)
            connection.execute(text(sql), given)
        else:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = on")
            connection.execute(text(sql), given)
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = off")


def all_can_be_read(store: Store) -> None:
    store.tasks.page(Filter(with_sub_tasks=True), EVERYONE, limit=100)
    store.admission.release(100, LEASE)
    store.publications.lease_due(100, LEASE)
    store.limits.all(EVERYONE)
    store.schedules.all(EVERYONE)
    store.subscriptions.all(EVERYONE)


@each("moment", NEVER)
@each("column", MOMENTS)
def test_no_task_has_a_moment_that_no_program_can_hold(
    store: Store, column: str, moment: str
) -> None:
    task_id = create(store)
    with pytest.raises(Exception, match="taskdb_task_is_bounded"):
        write(store, f"UPDATE taskdb_task SET {column} = '{moment}' WHERE id = :id", id=task_id)
    with pytest.raises(Exception, match="taskdb_task_is_bounded"):
        write(store, f"INSERT INTO taskdb_task (type, {column}) VALUES ('sum', '{moment}')")
    all_can_be_read(store)


@each(
    "columns, values",
    [
        ("type, mutex_key", {"a": "sum", "b": WIDE}),
        ("type, tenant", {"a": "sum", "b": WIDE}),
        ("type, unique_key", {"a": "sum", "b": WIDE}),
        ("type, unique_key", {"a": WIDE[:600], "b": WIDE[:400]}),
    ],
    ids=range(4),
)
def test_no_task_has_keys_that_an_index_cannot_hold(
    store: Store, columns: str, values: dict[str, str]
) -> None:
    with pytest.raises(Exception, match="taskdb_task_is_bounded"):
        write(store, f"INSERT INTO taskdb_task ({columns}) VALUES (:a, :b)", **values)
    all_can_be_read(store)


SCHEDULE = "INSERT INTO taskdb_schedule (name, type, cron, {}) VALUES ('a', 'sum', '* * * * *', {})"
RECURS = "INSERT INTO taskdb_schedule (name, type, kind, {}) VALUES ('a', 'sum', {})"
LIMIT_ROW = (
    "INSERT INTO taskdb_limit (target, name, max_starts, window_seconds)"
    " VALUES ('type', 'a', 1, 1e300)"
)


@each(
    "statement",
    [
        "INSERT INTO taskdb_limit (target, name, is_paused) VALUES ('type', :wide, true)",
        LIMIT_ROW,
        "INSERT INTO taskdb_schedule (name, type, cron) VALUES (:wide, 'sum', '* * * * *')",
        SCHEDULE.format("tenant", ":wide"),
        SCHEDULE.format("misfire_grace_seconds", "1e300"),
        SCHEDULE.format("starts_at", "'-infinity'"),
        SCHEDULE.format("next_due_at", "'infinity'"),
        RECURS.format("interval_seconds", "'interval', 1e300"),
        RECURS.format("once_at", "'once', 'infinity'"),
        "INSERT INTO taskdb_subscription (name, transport) VALUES (:wide, 'log')",
        (
            "INSERT INTO taskdb_subscription (name, transport, next_try_at)"
            " VALUES ('a', 'log', 'infinity')"
        ),
        (
            "INSERT INTO taskdb_alarm (fingerprint, source, window_until)"
            " VALUES ('a', 'failed', 'infinity')"
        ),
        "INSERT INTO taskdb_alarm_policy (type, backlog_seconds) VALUES ('a', 1e300)",
        SCHEDULE.format("deadline_seconds", "1e300"),
    ],
    ids=range(14),
)
def test_no_other_row_is_out_of_bounds(store: Store, statement: str) -> None:
    given = {"wide": WIDE} if ":wide" in statement else {}
    with pytest.raises(Exception, match=r"_is_bounded|index row size|deadline_seconds"):
        write(store, statement, **given)
    all_can_be_read(store)


def test_a_row_by_plain_sql_that_names_nothing_but_its_type_is_in_bounds(store: Store) -> None:
    write(store, "INSERT INTO taskdb_task (type) VALUES ('sum')")
    [found] = store.tasks.page(Filter(), EVERYONE, limit=2)
    assert found.type == "sum"


@each("moment, read", [("infinity", LATEST), ("-infinity", EARLIEST)])
@each("column", [one for one in MOMENTS if one not in UNREAD], alone=True)
def test_a_moment_that_cannot_be_read_keeps_no_other_task_from_being_read(
    store: Store, column: str, moment: str, read: datetime
) -> None:
    odd, other = create(store), create(store)
    write_unbounded(store, f"UPDATE taskdb_task SET {column} = '{moment}' WHERE id = :id", id=odd)
    found = {one.id: one for one in store.tasks.page(Filter(), EVERYONE, limit=10)}
    assert set(found) == {odd, other}
    assert getattr(found[odd], column) == read
    assert getattr(store.tasks.get(odd, EVERYONE), column) == read
    assert {one.id for one in store.publications.find([odd, other])} == {odd, other}


@each("column", ["attributes", "input", "result"], alone=True)
def test_a_value_that_is_nested_too_deeply_keeps_no_other_task_from_being_read(
    store: Store, column: str
) -> None:
    odd, other = create(store), create(store)
    deep = '{"a": ' + "[" * 3_000 + "]" * 3_000 + "}"
    value = store.database.dialect.json("deep")
    write(store, f"UPDATE taskdb_task SET {column} = {value} WHERE id = :id", id=odd, deep=deep)
    found = {one.id: one for one in store.tasks.page(Filter(), EVERYONE, limit=10)}
    assert set(found) == {odd, other}
    shown = {"attributes": "attributes", "input": "inline_input", "result": "inline_result"}
    assert "nested too deeply" in getattr(found[odd], shown[column])["unreadable"]


MANY_DIGITS = '{"a": ' + "1" * 5_000 + "}"
"""JSONB takes it; Python reads no whole number of so many digits."""
BY_HAND = [
    *(("input", MANY_DIGITS), ("result", MANY_DIGITS), ("attributes", MANY_DIGITS)),
    *(("error", MANY_DIGITS), ("error", '"disk full"'), ("error", "5"), ("error", "[1]")),
    *(("error", '{"attempt": "x"}'), ("error", '{"attempt": 1e400}')),
    *(("tags", MANY_DIGITS), ("tags", "5"), ("tags", "true"), ("tags", '{"a": 1}')),
    *(("tags", "[1, null]"), ("attributes", "[1]"), ("attributes", '"a"')),
]


@each("column, value", BY_HAND, alone=True)
def test_a_value_that_was_written_by_hand_keeps_no_other_task_from_being_read_or_run(
    store: Store, column: str, value: str
) -> None:
    odd, other = create(store), create(store)
    json = store.database.dialect.json("value")
    write(store, f"UPDATE taskdb_task SET {column} = {json} WHERE id = :id", id=odd, value=value)
    assert {one.id for one in store.tasks.page(Filter(), EVERYONE, limit=10)} == {odd, other}
    assert all(isinstance(tag, str) for tag in store.tasks.get(odd, EVERYONE).tags)
    assert isinstance(store.tasks.get(odd, EVERYONE).attributes, dict)
    claimed = store.runs.claim(odd, token="t", worker="w", max_attempts=1)
    assert claimed.granted and isinstance(claimed.attributes, dict)


def test_an_error_that_was_written_by_hand_is_shown_as_it_is(store: Store) -> None:
    task_id = create(store)
    error = store.database.dialect.json("error")
    write(
        store,
        f"UPDATE taskdb_task SET error = {error} WHERE id = :id",
        id=task_id,
        error='"disk full"',
    )
    found = store.tasks.get(task_id, EVERYONE).error
    assert found is not None and found.message == "disk full"


@each("value", [MANY_DIGITS, "5", '"a"', "[1]"], alone=True)
def test_an_event_that_was_written_by_hand_keeps_no_other_from_being_read(
    store: Store, value: str
) -> None:
    task_id = create(store)
    create(store)
    detail = store.database.dialect.json("value")
    sql = f"UPDATE taskdb_event SET detail = {detail} WHERE task_id = :id"
    write(store, sql, id=task_id, value=value)
    assert len(store.tasks.history(task_id, EVERYONE)) == 1
    assert len(store.tasks.events_after(None, 10, EVERYONE).events) == 2


@each(
    "statement",
    [
        "INSERT INTO taskdb_subscription (name, transport, statuses) VALUES ('odd', 'log', '5')",
        (
            "INSERT INTO taskdb_subscription (name, transport, statuses)"
            " VALUES ('odd', 'log', '[\"x\"]')"
        ),
        (
            "INSERT INTO taskdb_subscription (name, transport, statuses)"
            " VALUES ('odd', 'log', '\"x\"')"
        ),
        (
            "INSERT INTO taskdb_schedule (name, type, cron, input)"
            " VALUES ('odd', 'a', '* * * * *', :digits)"
        ),
    ],
    ids=range(4),
    alone=True,
)
def test_a_row_that_was_written_by_hand_keeps_no_other_from_being_listed(
    store: Store, statement: str
) -> None:
    write(store, "INSERT INTO taskdb_subscription (name, transport) VALUES ('good', 'log')")
    write(store, "INSERT INTO taskdb_schedule (name, type, cron) VALUES ('good', 'a', '* * * * *')")
    given = {"digits": MANY_DIGITS} if ":digits" in statement else {}
    cast = store.database.dialect.json("digits")
    write(store, statement.replace(":digits", cast), **given)
    assert "good" in {one.name for one in store.subscriptions.all(EVERYONE)}
    assert "good" in {one.name for one in store.schedules.all(EVERYONE)}


def test_a_limit_that_was_written_by_hand_keeps_no_other_from_being_listed(
    sqlite_url: str,
) -> None:
    """PostgreSQL takes no such number."""
    with Store(sqlite_url).closing() as store:
        for name, most in (("odd", "1e300"), ("odder", "'many'"), ("good", "3")):
            write(
                store,
                "INSERT INTO taskdb_limit (target, name, max_running)"
                f" VALUES ('type', '{name}', {most})",
            )
        assert [one.name for one in store.limits.all(EVERYONE)] == ["good"]


@pytest.mark.parametrize("value", ["", "{bad"])
@pytest.mark.parametrize("column", ["input", "result", "error", "attributes", "tags", "spec"])
def test_text_that_is_no_json_keeps_no_other_task_from_being_read(
    sqlite_url: str, column: str, value: str
) -> None:
    """JSONB takes no such text."""
    with Store(sqlite_url).closing() as store:
        odd, other = create(store), create(store)
        write(
            store, f"UPDATE taskdb_task SET {column} = :value WHERE id = :id", id=odd, value=value
        )
        assert {one.id for one in store.tasks.page(Filter(), EVERYONE, limit=10)} == {odd, other}
        assert len(store.tasks.history(odd, EVERYONE)) == 1


def test_pages_go_on_behind_a_task_of_any_year(store: Store) -> None:
    made = [create(store) for _ in range(4)]
    write(store, "UPDATE taskdb_task SET created_at = :at WHERE id = :id", id=made[0], at=FAR)
    seen: list[str] = []
    after = None
    while page := store.tasks.page(Filter(), EVERYONE, limit=1, after=after):
        seen.append(page[0].id)
        after = Cursor.parse(str(Cursor(page[0].created_at, page[0].id)))
    assert seen == [made[0], *made[:0:-1]]


@pytest.fixture
def eastern_store(postgresql_url: str) -> Iterator[Store]:
    """A store whose database has another zone than UTC by default."""
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        name = make_url(postgresql_url).database
        connection.execute(text(f"ALTER DATABASE {name} SET timezone TO 'Pacific/Kiritimati'"))
    engine.dispose()
    with Store(postgresql_url).closing() as opened:
        yield opened


@pytest.mark.parametrize("moment", ["9999-12-31 23:59:59.999999Z", "0001-01-01 00:00:00Z"])
def test_a_moment_at_the_end_of_time_is_read_in_any_zone(eastern_store: Store, moment: str) -> None:
    task_id = create(eastern_store)
    write_unbounded(
        eastern_store, f"UPDATE taskdb_task SET started_at = '{moment}' WHERE id = :id", id=task_id
    )
    [found] = eastern_store.tasks.page(Filter(), EVERYONE, limit=2)
    assert found.started_at in {LATEST, EARLIEST, datetime.fromisoformat(moment)}


def test_the_bounds_of_moments_are_those_that_a_row_takes(store: Store) -> None:
    for moment in (EARLIEST, LATEST):
        made = create(store, run_at=moment, deadline_at=moment)
        assert store.tasks.get(made, EVERYONE).deadline_at == moment
    all_can_be_read(store)


NUMBERS: list[Any] = [1e16, -1.5e22, 1e308, 5e-324, -0.0, 0.1, 1.0, 1, 2**63, 10**100]


def test_a_result_and_a_step_of_progress_keep_their_numbers(store: Store) -> None:
    run = running(store)
    store.runs.progress(run.id, run.token, Report(attributes={"n": NUMBERS}, current=1))
    assert repr(store.tasks.get(run.id, EVERYONE).attributes) == repr({"n": NUMBERS})
    store.outcomes.complete(run.id, run.token, Payload(NUMBERS, encode(NUMBERS, "the result")))
    assert repr(store.tasks.get(run.id, EVERYONE).result) == repr(NUMBERS)


def test_the_clock_of_a_store_is_in_utc_and_in_bounds(store: Store) -> None:
    assert EARLIEST < store.schedules.now() < LATEST and store.schedules.now().tzinfo is UTC
