"""Creating tasks: whole or not at all, under one key or many, in whoever's transaction."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine

from taskdb.errors import NotEncodable, TaskDBError, TaskNotFound, ValueRefused
from taskdb.model.entity import TaskKind, TaskRole
from taskdb.model.limit import Limit
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE, Draft, OnConflict
from taskdb.store.engine.types import as_moment
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.store.task.row import PLACE, RESUBMITTED, WHEN
from tests.cases import each
from tests.store.tasks import (
    HOUR,
    LEASE,
    OOPS,
    at_once,
    claim,
    create,
    draft,
    in_status,
    make_due,
    moves,
    publication,
    row,
    write,
)

RESUBMITTED_FROM = {TaskStatus.FAILED, TaskStatus.HALTED, TaskStatus.SCHEDULED}
KEYED = set(TaskStatus)


def count(store: Store) -> int:
    return int(write(store, "SELECT count(*) AS n FROM taskdb_task")[0]["n"])


@pytest.fixture
def callers_engine(store_url: str) -> Iterator[Engine]:
    """An engine as an application has it, with the driver's own habits."""
    engine = create_engine(store_url)
    yield engine
    engine.dispose()


def test_a_created_task_has_everything_that_was_said_of_it(store: Store) -> None:
    deadline = datetime(2030, 1, 1, 12, 30, 15, 123000, UTC)
    said = draft(
        tenant="größe 🦆",
        name="a 'quoted' % name; :token",
        kind=TaskKind.SEQUENCE,
        role=TaskRole.STEP,
        queue="slow",
        priority=9,
        input={"text": "é\n\u2028 🦆 \\u0000 %s :id", "deep": [1, 2.5, None, True, {"a": []}]},
        attributes={"color": "blue"},
        tags=("one", "tw'o"),
        unique_key="key",
        parent_id=create(store),
        position=7,
        request_id="r-1",
        created_by="ann",
        created_ip="::1",
        deadline_at=deadline,
    )
    created = store.submissions.create([said], EVERYONE)[0]
    task = store.tasks.get(said.id, EVERYONE)
    assert (created.id, created.is_new, created.status) == (said.id, True, TaskStatus.CREATED)
    for name in (
        "tenant", "type", "kind", "role", "name", "queue", "priority", "input", "attributes",
        "tags", "unique_key", "parent_id", "position", "request_id", "created_by", "created_ip",
        "deadline_at",
    ):  # fmt: skip
        assert getattr(task, name) == getattr(said, name), name
    assert task.created_at == task.updated_at == created.created_at
    assert (task.attempt, task.spared, task.crashes) == (0, 0, 0)
    assert moves(store, said.id) == [(None, "CREATED")]


@each("value", [None, "text", 0, False, [], {}, "null", 1.5, 2**70, "ä"])
def test_any_json_is_an_input(store: Store, value: Any) -> None:
    assert store.tasks.get(create(store, input=value), EVERYONE).input == value


def test_a_fresh_task_is_left_to_its_own_process_for_the_grace(store: Store) -> None:
    created = store.submissions.create([draft()], EVERYONE)[0]
    assert created.relay_at is not None and created.created_at is not None
    assert timedelta(seconds=4) < created.relay_at - created.created_at < timedelta(seconds=6)
    assert store.publications.lease_due(10, LEASE) == []


@each(
    "when, status",
    [
        ({"run_at": datetime(2200, 1, 1, tzinfo=UTC)}, TaskStatus.SCHEDULED),
        ({"run_at": datetime(2020, 1, 1, tzinfo=UTC)}, TaskStatus.CREATED),
        ({"delay": HOUR}, TaskStatus.SCHEDULED),
        ({"delay": timedelta(0)}, TaskStatus.CREATED),
        ({}, TaskStatus.CREATED),
    ],
)
def test_a_task_that_is_due_later_is_scheduled(
    store: Store, when: dict[str, Any], status: TaskStatus
) -> None:
    created = store.submissions.create([draft(**when)], EVERYONE)[0]
    assert created.status is status
    assert moves(store, created.id) == [(None, status)]
    if status is TaskStatus.SCHEDULED:
        assert created.run_at == created.relay_at == store.tasks.get(created.id, EVERYONE).run_at
        assert store.publications.lease_due(10, LEASE) == []
        make_due(store, created.id)
        assert [item.id for item in store.publications.lease_due(10, LEASE)] == [created.id]


def test_a_delay_counts_from_the_clock_of_the_database(store: Store) -> None:
    created = store.submissions.create([draft(delay=HOUR)], EVERYONE)[0]
    assert created.run_at is not None and created.created_at is not None
    assert abs(created.run_at - created.created_at - HOUR) < timedelta(seconds=5)


def test_answers_come_in_the_order_of_the_drafts(store: Store) -> None:
    drafts = [draft(unique_key=key) for key in ("z", "a", None, "m", None)]
    assert [one.id for one in store.submissions.create(drafts, EVERYONE)] == [
        one.id for one in drafts
    ]
    page = store.tasks.page(Filter(), EVERYONE, limit=10, order="oldest")
    assert [task.id for task in page] == [one.id for one in drafts]


def test_twenty_thousand_tasks_are_created_whole(store: Store) -> None:
    drafts = [draft(position=number) for number in range(20_000)]
    created = store.submissions.create(drafts, EVERYONE)
    assert [one.id for one in created] == [one.id for one in drafts]
    assert count(store) == 20_000
    events = write(store, "SELECT count(*) AS n FROM taskdb_event")
    assert int(events[0]["n"]) == 20_000


def test_a_row_that_fails_takes_all_others_with_it(store: Store) -> None:
    drafts = [draft() for _ in range(2_500)]
    drafts[2_400] = draft(priority=99)
    with pytest.raises(ValueRefused, match="taskdb_task_is_sound") as raised:
        store.submissions.create(drafts, EVERYONE)
    # The server adds the whole row, with its input, which is nobody's to log.
    assert "acme" not in str(raised.value)
    assert count(store) == 0
    assert write(store, "SELECT id FROM taskdb_event") == []


@each("field", ["name", "tenant", "unique_key", "request_id"])
@each("text", ["nul \x00", "half \ud83d"])
def test_text_that_a_database_cannot_keep_is_refused_by_name(
    store: Store, field: str, text: str
) -> None:
    with pytest.raises(NotEncodable, match=field):
        store.submissions.create([draft(**{field: text})], EVERYONE)
    assert count(store) == 0


def test_no_drafts_are_no_tasks(store: Store) -> None:
    assert store.submissions.create([], EVERYONE) == []


# --- the same again -------------------------------------------------------------------------------


def test_creating_the_same_draft_twice_makes_one_task(store: Store) -> None:
    """As when the answer to the first try was lost on its way."""
    other = create(store)
    said = draft(delay=HOUR)
    first, again = (
        store.submissions.create([said], EVERYONE)[0],
        store.submissions.create([said], EVERYONE)[0],
    )
    assert (again.id, again.status, again.is_new) == (first.id, TaskStatus.SCHEDULED, True)
    assert again.id != other
    assert count(store) == 2


def test_a_scheduled_draft_with_a_key_stays_scheduled_when_it_is_written_twice(
    store: Store,
) -> None:
    said = draft(delay=HOUR, unique_key="k")
    assert [store.submissions.create([said], EVERYONE)[0].status for _ in range(2)] == [
        TaskStatus.SCHEDULED
    ] * 2


@each("status", sorted(KEYED), alone=True)
def test_a_key_that_is_taken_is_answered_by_the_rules(store: Store, status: TaskStatus) -> None:
    run = in_status(store, status, unique_key="k")
    before = row(store, run.id), moves(store, run.id)
    again = store.submissions.create(
        [draft(unique_key="k", input={"new": 1}, queue="other", priority=1)], EVERYONE
    )[0]
    task = store.tasks.get(run.id, EVERYONE)
    assert again.id == run.id
    assert count(store) == 1
    if status in RESUBMITTED_FROM:
        assert (again.is_new, again.status) == (True, TaskStatus.CREATED)
        assert (task.status, task.input) == (TaskStatus.CREATED, {"new": 1})
        assert (task.queue, task.priority) == ("other", 1)
        assert (task.error, task.run_at, task.ended_at, task.attempts_used) == (None, None, None, 0)
        assert moves(store, run.id) == [*before[1], (status, "CREATED")]
    else:
        assert (again.is_new, again.status) == (False, status)
        assert (row(store, run.id), moves(store, run.id)) == before


AGAIN: dict[str, Any] = {
    "name": "again",
    "queue": "other",
    "priority": 1,
    "input": {"new": 1},
    "input_ref": "a-reference",
    "attributes": {"new": True},
    "tags": ("new",),
    "mutex_key": "new-mutex",
    "request_id": "r-2",
    "created_by": "bob",
    "created_ip": "::2",
    "run_at": datetime(2200, 1, 1, tzinfo=UTC),
    "delay": 2 * HOUR,
    "deadline_at": datetime(2201, 1, 1, tzinfo=UTC),
    "notify_id": "n-2",
    "trace": "00-new",
}
"""Another value for every field of a draft that a resubmit writes."""
BEFORE: dict[str, Any] = {
    "name": "before",
    "attributes": {"old": True},
    "tags": ("old",),
    "mutex_key": "old-mutex",
    "request_id": "r-1",
    "created_by": "ann",
    "created_ip": "::1",
    "deadline_at": datetime(2199, 1, 1, tzinfo=UTC),
    "notify_id": "n-1",
    "trace": "00-old",
}
FOUND_BY = {"id", "status", *PLACE}
"""What a draft has of its own, and where it stands; not what it asks for."""


def test_every_field_of_a_draft_is_written_again_or_says_where_the_row_stands() -> None:
    again = {*AGAIN, "input_text"}
    assert again | FOUND_BY == {field.name for field in fields(Draft)}
    assert set(AGAIN) == {*RESUBMITTED, *WHEN}


def test_an_input_that_is_encoded_already_is_written_as_it_is(store: Store) -> None:
    one = draft(input={"n": 1}, input_text='{"n":2}')
    store.submissions.create([one], EVERYONE)
    assert store.tasks.get(one.id, EVERYONE).inline_input == {"n": 2}


@each("name", sorted(AGAIN))
@each("status", sorted(RESUBMITTED_FROM), alone=True)
def test_a_resubmit_has_each_option_of_the_new_submit(
    store: Store, status: TaskStatus, name: str
) -> None:
    fresh = create(store, **{name: AGAIN[name]})
    run = in_status(store, status, unique_key="k")
    (again,) = store.submissions.create([draft(unique_key="k", **{name: AGAIN[name]})], EVERYONE)
    assert (again.id, again.is_new) == (run.id, True)
    assert_asked_alike(store, run.id, fresh)
    assert again.status == store.tasks.get(fresh, EVERYONE).status
    assert moves(store, run.id)[-1] == (status, again.status)


@each("status", sorted(RESUBMITTED_FROM), alone=True)
def test_a_resubmit_forgets_each_option_of_the_submit_before(
    store: Store, status: TaskStatus
) -> None:
    fresh = create(store)
    run = in_status(store, status, unique_key="k")
    _write_columns(store, run.id, BEFORE)
    store.submissions.create([draft(unique_key="k")], EVERYONE)
    assert_asked_alike(store, run.id, fresh)


@each("when", [{"delay": HOUR}, {"run_at": datetime(2200, 1, 1, tzinfo=UTC)}])
@each("status", sorted(RESUBMITTED_FROM), alone=True)
def test_a_resubmit_for_later_is_scheduled_and_runs_when_it_is_due(
    store: Store, status: TaskStatus, when: dict[str, Any]
) -> None:
    run = in_status(store, status, unique_key="k")
    (again,) = store.submissions.create([draft(unique_key="k", **when)], EVERYONE)
    assert again.status is TaskStatus.SCHEDULED
    assert again.run_at == store.tasks.get(run.id, EVERYONE).run_at
    # The clock of the database is read once for each of the two.
    assert timedelta(0) <= again.relay_at - again.run_at < timedelta(seconds=1)
    assert store.publications.lease_due(10, LEASE) == []
    make_due(store, run.id)
    assert [item.id for item in store.publications.lease_due(10, LEASE)] == [run.id]
    assert claim(store, run.id, "token-2")


def test_twins_that_are_scheduled_again_in_one_call_are_one_resubmit(store: Store) -> None:
    run = in_status(store, TaskStatus.FAILED, unique_key="k")
    drafts = [draft(unique_key="k", input=number, delay=HOUR) for number in range(3)]
    created = store.submissions.create(drafts, EVERYONE)
    assert [(one.id, one.is_new) for one in created] == [
        (run.id, True), (run.id, False), (run.id, False),
    ]  # fmt: skip
    assert store.tasks.get(run.id, EVERYONE).input == 0
    assert moves(store, run.id)[-2:] == [("STARTED", "FAILED"), ("FAILED", "SCHEDULED")]


def test_a_resubmit_into_a_queue_with_a_limit_is_held(store: Store) -> None:
    run = in_status(store, TaskStatus.FAILED, unique_key="k")
    store.limits.set(("queue", "narrow"), Limit(max_running=1), EVERYONE)
    (again,) = store.submissions.create([draft(unique_key="k", queue="narrow")], EVERYONE)
    assert (again.id, again.held_by) == (run.id, "admission")


def assert_asked_alike(store: Store, one: str, other: str) -> None:
    """Both rows have what a submit decides; a delay counts from the clock of the database."""
    rows = [row(store, task_id) for task_id in (one, other)]
    for name in (*RESUBMITTED, "status", "needs_admission", "held_by"):
        assert rows[0][name] == rows[1][name], name
    due = [as_moment(found["run_at"]) for found in rows]
    assert due[0] == due[1] or abs(due[0] - due[1]) < timedelta(minutes=1)


def _write_columns(store: Store, task_id: str, values: dict[str, Any]) -> None:
    """What an earlier submit asked for, in the row that it left."""
    other = create(store, **values)
    names = ", ".join(values)
    sql = (
        f"UPDATE taskdb_task SET ({names}) = (SELECT {names} FROM taskdb_task WHERE id = :other)"
        " WHERE id = :id"
    )
    write(store, sql, id=task_id, other=other)


@each("status", sorted(KEYED), alone=True)
def test_keep_answers_whatever_there_is(store: Store, status: TaskStatus) -> None:
    run = in_status(store, status, unique_key="k")
    before = row(store, run.id)
    again = store.submissions.create(
        [draft(unique_key="k", input={"new": 1})], EVERYONE, on_conflict="keep"
    )[0]
    assert (again.id, again.is_new, again.status) == (run.id, False, status)
    assert row(store, run.id) == before


@each("status", sorted(KEYED), alone=True)
def test_new_replaces_what_is_over(store: Store, status: TaskStatus) -> None:
    run = in_status(store, status, unique_key="k")
    again = store.submissions.create(
        [draft(unique_key="k", input={"new": 1})], EVERYONE, on_conflict="new"
    )[0]
    if status.is_terminal:
        assert again.id != run.id and again.is_new
        assert store.tasks.get(run.id, EVERYONE).status is status
        assert store.tasks.get(run.id, EVERYONE).unique_key is None
        assert store.tasks.get(again.id, EVERYONE).unique_key == "k"
    else:
        assert (again.id, again.is_new) == (run.id, False)
        assert store.tasks.get(run.id, EVERYONE).unique_key == "k"


def test_a_key_counts_for_one_tenant_and_one_type(store: Store) -> None:
    drafts = [
        draft(unique_key="k"),
        draft(unique_key="k", tenant="other"),
        draft(unique_key="k", type="other"),
        draft(unique_key="K"),
    ]
    assert all(one.is_new for one in store.submissions.create(drafts, EVERYONE))


@each("when", [{}, {"delay": HOUR}])
@each("on_conflict", ["resubmit", "keep", "new"], alone=True)
def test_duplicates_in_one_call_give_one_task(
    store: Store, when: dict[str, Any], on_conflict: OnConflict
) -> None:
    drafts = [draft(unique_key="k", input=number, **when) for number in range(3)]
    created = store.submissions.create([*drafts, draft()], EVERYONE, on_conflict=on_conflict)
    assert len({one.id for one in created}) == 2
    assert [one.is_new for one in created].count(True) == 2
    task = store.tasks.get(created[0].id, EVERYONE)
    assert task.status is (TaskStatus.SCHEDULED if when else TaskStatus.CREATED)
    assert len(moves(store, task.id)) == 1


def test_twenty_submits_of_one_key_at_once_make_one_task(store: Store) -> None:
    created = at_once(lambda _: store.submissions.create([draft(unique_key="k")], EVERYONE)[0], 20)
    assert len({one.id for one in created}) == 1
    assert Counter(one.is_new for one in created)[True] == 1
    assert count(store) == 1


def test_submits_of_the_same_keys_in_any_order_never_lock_each_other_out(store: Store) -> None:
    keys = [f"k{number}" for number in range(60)]

    def submit(number: int) -> set[str]:
        order = keys if number % 2 else list(reversed(keys))
        return {
            one.id
            for one in store.submissions.create([draft(unique_key=key) for key in order], EVERYONE)
        }

    assert len(set.union(*at_once(submit, 6))) == len(keys)


# --- in a caller's transaction --------------------------------------------------------------------


def test_a_rollback_leaves_nothing(store: Store, callers_engine: Engine) -> None:
    with callers_engine.connect() as connection, connection.begin() as transaction:
        created = store.submissions.create([draft(), draft()], EVERYONE, connection=connection)
        transaction.rollback()
    for one in created:
        with pytest.raises(TaskNotFound):
            store.tasks.get(one.id, EVERYONE)
        assert store.tasks.history(one.id, EVERYONE) == []


def test_a_commit_shows_all_under_the_ids_that_were_known_before(
    store: Store, callers_engine: Engine
) -> None:
    drafts = [draft() for _ in range(3)]
    with callers_engine.begin() as connection:
        created = store.submissions.create(drafts, EVERYONE, connection=connection)
        assert [one.id for one in created] == [one.id for one in drafts]
        assert store.tasks.get(drafts[0].id, EVERYONE, connection=connection).input == {
            "a": 1,
            "b": 2,
        }
        if store.database.dialect.name == "postgresql":
            with pytest.raises(TaskNotFound):
                store.tasks.get(drafts[0].id, EVERYONE)
    assert [store.tasks.get(one.id, EVERYONE).status for one in drafts] == [TaskStatus.CREATED] * 3
    assert moves(store, drafts[0].id) == [(None, "CREATED")]


def test_a_savepoint_that_is_rolled_back_takes_only_its_own(
    store: Store, callers_engine: Engine
) -> None:
    kept, lost, later = draft(), draft(), draft()
    with callers_engine.begin() as connection:
        store.submissions.create([kept], EVERYONE, connection=connection)
        with connection.begin_nested() as savepoint:
            store.submissions.create([lost], EVERYONE, connection=connection)
            savepoint.rollback()
        store.submissions.create([later], EVERYONE, connection=connection)
    assert store.tasks.get(kept.id, EVERYONE) and store.tasks.get(later.id, EVERYONE)
    with pytest.raises(TaskNotFound):
        store.tasks.get(lost.id, EVERYONE)


def test_a_taken_key_does_not_break_the_callers_transaction(
    store: Store, callers_engine: Engine
) -> None:
    taken = in_status(store, TaskStatus.FAILED, unique_key="k")
    kept = in_status(store, TaskStatus.QUEUED, unique_key="q")
    with callers_engine.begin() as connection:
        again = store.submissions.create(
            [draft(unique_key="k"), draft(unique_key="q")], EVERYONE, connection=connection
        )
        store.submissions.create([draft()], EVERYONE, connection=connection)
    assert [one.id for one in again] == [taken.id, kept.id]
    assert store.tasks.get(taken.id, EVERYONE).status is TaskStatus.CREATED
    assert count(store) == 3


def test_a_callers_driver_may_be_one_that_we_do_not_know(
    store: Store, callers_engine: Engine
) -> None:
    said = draft(tenant="'; --", input="%(x)s %s :id", deadline_at=datetime(2030, 1, 1, tzinfo=UTC))
    callers_engine.dialect.driver = "another"
    with callers_engine.begin() as connection:
        store.submissions.create([said], EVERYONE, connection=connection)
    assert store.tasks.get(said.id, EVERYONE).input == said.input


def test_a_key_taken_by_what_cannot_be_seen_is_said(postgresql_store: Store) -> None:
    engine = create_engine(postgresql_store.database.url, isolation_level="REPEATABLE READ")
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1 FROM taskdb_task")  # its snapshot is taken
        create(postgresql_store, unique_key="k")
        with pytest.raises(Exception, match=r"could not serialize|cannot see") as raised:
            postgresql_store.submissions.create(
                [draft(unique_key="k")], EVERYONE, connection=connection
            )
        assert isinstance(raised.value, TaskDBError) or "serialize" in str(raised.value)
        connection.rollback()
    engine.dispose()


# --- without us -----------------------------------------------------------------------------------


def test_a_row_of_plain_sql_is_published_and_run(store: Store) -> None:
    write(store, "INSERT INTO taskdb_task (type) VALUES ('sum')")
    leased = store.publications.lease_due(10, LEASE)
    assert len(leased) == 1
    task = store.tasks.get(leased[0].id, EVERYONE)
    assert (task.type, task.name, task.tenant, task.queue) == ("sum", "sum", "", "taskdb")
    assert (task.status, task.input, task.attributes, task.tags) == ("CREATED", None, {}, ())
    assert store.publications.mark_queued(leased) == {task.id}
    assert store.runs.claim(task.id, token="t", worker="w", max_attempts=1).granted
    assert store.outcomes.fail(task.id, "t", OOPS) is TaskStatus.FAILED
    assert publication(store, task.id).queue == "taskdb"
