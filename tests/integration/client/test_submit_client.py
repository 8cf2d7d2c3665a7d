"""The client on both databases: what a submit writes, answers, finds and refuses."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cases import each
from tests.integration.submit_site import client, count, end, files, ids, messages, statuses
from tests.rounds import rounds
from tests.waiting import wait_until

from taskdb import (
    IllegalMove,
    InvalidInput,
    TaskDB,
    TaskEntity,
    TaskNotFound,
    TaskStatus,
    UnknownTaskType,
    WaitTimeout,
)
from taskdb.errors import DatabaseError, PayloadTooLarge

LARGE = "x" * 5_000
NOW = datetime.now(UTC)


def unlike(one: TaskEntity, other: TaskEntity) -> set[str]:
    """The fields in which two answers about a task differ."""
    names = [field.name for field in dataclasses.fields(TaskEntity) if field.compare]
    return {name for name in names if getattr(one, name) != getattr(other, name)}


# --- what is written ------------------------------------------------------------------------------


def test_everything_a_submit_says_is_on_the_row(taskdb: TaskDB) -> None:
    given: dict[str, Any] = {
        "tenant": "acme",
        "name": "the größte \N{SNOWMAN}",
        "unique_key": "k-1",
        "priority": 9,
        "queue": "large",
        "request_id": "r-1",
        "created_by": "ada",
        "created_ip": "10.0.0.1",
        "tags": ["a", "b"],
        "attributes": {"deep": {"list": [1, None, "x"]}},
    }
    deadline = NOW + timedelta(days=1)
    entity = taskdb.submit_task("plus", {"a": 1}, deadline=deadline, **given)
    read = taskdb.get_task(entity.id)
    assert {**given, "tags": ("a", "b")} == {name: getattr(read, name) for name in given}
    assert read.input == {"a": 1, "b": 0} and read.type == "plus" and read.kind == "TASK"
    assert read.deadline_at == deadline.replace(microsecond=read.deadline_at.microsecond)  # type: ignore[union-attr]
    assert abs((read.created_at - datetime.now(UTC)).total_seconds()) < 60


def test_the_fresh_answer_is_what_a_read_answers(taskdb: TaskDB) -> None:
    for options in ({}, {"delay": 60}, {"tags": ["a"], "attributes": {"x": 1}, "tenant": "t"}):
        entity = taskdb.submit_task("echo", [1, {"x": "y"}], **options)  # type: ignore[arg-type]
        assert unlike(entity, entity.refresh()) <= {"queued_at", "updated_at"}


def test_a_submit_without_input_or_options_takes_the_defaults(taskdb: TaskDB) -> None:
    read = taskdb.submit_task("echo").refresh()
    assert (read.tenant, read.queue, read.priority, read.name) == ("", "taskdb", 5, "echo")
    assert read.input == {} and read.tags == () and read.attributes == {}
    assert read.status is TaskStatus.QUEUED


def test_a_submit_for_later_is_scheduled_and_not_published(taskdb: TaskDB) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    by_time = taskdb.submit_task("echo", run_at=at)
    by_delay = taskdb.submit_task("echo", delay=timedelta(hours=1))
    by_seconds = taskdb.submit_task("echo", delay=3_600)
    assert by_time.run_at == at == taskdb.get_task(by_time.id).run_at
    for entity in (by_time, by_delay, by_seconds):
        assert entity.status is TaskStatus.SCHEDULED
        assert abs((entity.run_at - at).total_seconds()) < 60  # type: ignore[operator]
    assert messages(taskdb) == []


def test_a_time_that_has_passed_means_now(taskdb: TaskDB) -> None:
    past = datetime(2001, 1, 1, tzinfo=UTC)
    assert taskdb.submit_task("echo", run_at=past).status is TaskStatus.QUEUED
    assert taskdb.submit_task("echo", delay=0).status is TaskStatus.QUEUED


def test_an_entity_cannot_be_changed(taskdb: TaskDB) -> None:
    entity = taskdb.submit_task("echo")
    with pytest.raises(dataclasses.FrozenInstanceError):
        entity.status = TaskStatus.COMPLETED  # type: ignore[misc]
    end(taskdb, entity.id, "COMPLETED")
    assert entity.status is TaskStatus.QUEUED
    assert entity.refresh().status is TaskStatus.COMPLETED


# --- what is refused ------------------------------------------------------------------------------


@each(
    "type, input, options, error, words",
    [
        ("ecko", LARGE, {}, UnknownTaskType, "did you mean 'echo'"),
        ("plus", {"b": LARGE}, {}, InvalidInput, "a: Field required; b: Input should be"),
        ("echo", LARGE, {"run_at": NOW.replace(tzinfo=None)}, InvalidInput, "run_at is a naive"),
        ("echo", LARGE, {"priorty": 1}, InvalidInput, "priorty: .*did you mean 'priority'"),
        ("echo", LARGE + "\x00", {}, InvalidInput, "NUL character"),
        ("echo", [LARGE, "\ud800"], {}, InvalidInput, "surrogate"),
        ("echo", "x" * 100_001, {}, PayloadTooLarge, "the limit is 100,000"),
        ("echo", LARGE, {"attributes": {"x": "\x00"}}, InvalidInput, "attributes"),
    ],
)
def test_what_is_refused_leaves_no_row_and_no_file(
    taskdb: TaskDB, type: str, input: Any, options: dict[str, Any], error: Any, words: str
) -> None:
    with pytest.raises(error, match=words):
        taskdb.submit_task(type, input, **options)
    with pytest.raises(error, match=words):
        taskdb.submit_many(type, [input], **options)
    assert count(taskdb) == 0 and files(taskdb) == []


@each("inputs", [{"a": 1}, "text", b"bytes", None, 5])
def test_one_input_given_for_many_is_refused(taskdb: TaskDB, inputs: Any) -> None:
    with pytest.raises(InvalidInput, match="is one input: pass a list"):
        taskdb.submit_many("echo", inputs)


# --- large inputs ---------------------------------------------------------------------------------


def test_a_large_input_lies_in_a_file_and_comes_back_by_itself(taskdb: TaskDB) -> None:
    entity = taskdb.submit_task("echo", {"text": LARGE})
    assert len(files(taskdb)) == 1
    for read in (entity, entity.refresh(), taskdb.list_tasks()[0]):
        assert read.input == {"text": LARGE} and read.inline_input is None


def test_a_small_input_makes_no_file(taskdb: TaskDB) -> None:
    taskdb.submit_task("echo", "x" * 900)
    assert files(taskdb) == []


def test_a_payload_goes_when_its_insert_fails(taskdb: TaskDB) -> None:
    with taskdb.store.database.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE taskdb_task RENAME TO task_elsewhere")
    try:
        with pytest.raises(DatabaseError):
            taskdb.submit_task("echo", LARGE)
        assert files(taskdb) == []
    finally:
        with taskdb.store.database.transaction() as connection:
            connection.exec_driver_sql("ALTER TABLE task_elsewhere RENAME TO task")


def test_a_payload_goes_when_the_unique_key_found_another_task(taskdb: TaskDB) -> None:
    first = taskdb.submit_task("echo", LARGE, unique_key="k")
    again = taskdb.submit_task("echo", LARGE + "2", unique_key="k")
    assert again.id == first.id and again.input == LARGE
    assert len(files(taskdb)) == 1
    taskdb.submit_many("echo", [LARGE, LARGE], unique_key="k2")
    assert len(files(taskdb)) == 2


def test_a_payload_stays_where_nobody_knows_whether_the_insert_failed(
    tmp_path: Path, own_postgresql: Any
) -> None:
    with client(own_postgresql.url, tmp_path) as taskdb:
        taskdb.submit_task("echo")
        own_postgresql.stop()
        with pytest.raises(DatabaseError):
            taskdb.submit_task("echo", LARGE)
        assert len(files(taskdb)) == 1


# --- unique keys ----------------------------------------------------------------------------------

UNCHANGED = ("CREATED", "QUEUED", "STARTED", "ERRORED", "COMPLETED", "CANCELED")
AGAIN = ("FAILED", "HALTED", "SCHEDULED", "SNOOZED")


@each("status", [*UNCHANGED, *AGAIN], alone=True)
def test_the_status_decides_what_a_second_submit_of_a_key_does(taskdb: TaskDB, status: str) -> None:
    delay = 3_600 if status == "SCHEDULED" else None
    first = taskdb.submit_task("once", {"a": 1, "b": 1}, delay=delay)
    end(taskdb, first.id, status)
    before = first.refresh()
    messages(taskdb)
    kept = taskdb.submit_task("once", {"a": 1, "b": 2}, on_conflict="keep")
    assert unlike(kept, before) == set()
    again = taskdb.submit_task("once", {"a": 1, "b": 2})
    assert again.id == first.id and count(taskdb) == 1
    if status in UNCHANGED:
        assert unlike(again, before) == set() and messages(taskdb) == []
    else:
        assert again.status is TaskStatus.QUEUED and again.input == {"a": 1, "b": 2}
        assert ids(messages(taskdb)) == [first.id]


@each("status", [*UNCHANGED, *AGAIN], alone=True)
def test_a_terminal_task_gives_its_key_to_a_new_one_on_request(taskdb: TaskDB, status: str) -> None:
    delay = 3_600 if status == "SCHEDULED" else None
    first = taskdb.submit_task("once", {"a": 1}, delay=delay)
    end(taskdb, first.id, status)
    second = taskdb.submit_task("once", {"a": 1}, on_conflict="new")
    over = status in {"COMPLETED", "FAILED", "CANCELED"}
    assert (second.id != first.id) is over
    assert count(taskdb) == (2 if over else 1)
    assert taskdb.get_task(first.id).unique_key == (None if over else first.unique_key)


def test_the_same_key_of_another_type_or_tenant_is_another_task(taskdb: TaskDB) -> None:
    found = {
        taskdb.submit_task(kind, 1, unique_key="k", tenant=tenant).id
        for kind, tenant in (("echo", ""), ("echo", "acme"))
    }
    found.add(taskdb.submit_task("plus", {"a": 1}, unique_key="k").id)
    assert len(found) == 3


def test_twenty_threads_with_one_key_get_one_task(taskdb: TaskDB) -> None:
    together = threading.Barrier(20)

    def submit(number: int) -> str:
        together.wait()
        return taskdb.submit_task("once", {"a": 1, "b": number}).id

    with ThreadPoolExecutor(20) as pool:
        found = set(pool.map(submit, range(20)))
    assert len(found) == 1 and count(taskdb) == 1
    wait_until(lambda: statuses(taskdb) == ["QUEUED"], 10)
    assert len(messages(taskdb)) == 1


# --- many -----------------------------------------------------------------------------------------


def test_many_are_answered_in_order_and_an_empty_list_makes_none(taskdb: TaskDB) -> None:
    assert taskdb.submit_many("plus", []) == []
    found = taskdb.submit_many("plus", ({"a": n} for n in range(30)))
    assert [one.input["a"] for one in found] == list(range(30))
    assert [one.id for one in found] == sorted(one.id for one in found)
    assert [one.id for one in taskdb.list_tasks(order="oldest")] == [one.id for one in found]


def test_one_wrong_input_among_many_writes_none_of_them(taskdb: TaskDB) -> None:
    with pytest.raises(InvalidInput, match=r"1\.a: Field required; 2\.a: Input should be"):
        taskdb.submit_many("plus", [{"a": 1}, {}, {"a": "x"}])
    assert count(taskdb) == 0


def test_twins_inside_one_submit_get_one_row(taskdb: TaskDB) -> None:
    found = taskdb.submit_many("once", [{"a": 1}, {"a": 2}, {"a": 1, "b": 5}])
    assert found[0].id == found[2].id != found[1].id
    assert found[2].input == {"a": 1, "b": 0} and count(taskdb) == 2
    assert len(messages(taskdb)) == 2


@pytest.mark.rounds
def test_thousands_are_written_and_published(taskdb: TaskDB) -> None:
    many = rounds(3_000, 10_000)
    found = taskdb.submit_many("plus", ({"a": n} for n in range(many)))
    assert len({one.id for one in found}) == many
    assert count(taskdb) == many
    wait_until(lambda: count(taskdb, TaskStatus.QUEUED) == many, 60)


# --- tenants --------------------------------------------------------------------------------------


def test_a_scoped_client_reads_and_moves_its_own_tenants_tasks_only(taskdb: TaskDB) -> None:
    acme, other = taskdb.for_tenant("acme"), taskdb.for_tenant("other")
    mine = acme.submit_task("echo", "mine")
    foreign = other.submit_task("echo", "foreign")
    assert (mine.tenant, foreign.tenant) == ("acme", "other")
    assert [one.id for one in acme.list_tasks()] == [mine.id]
    assert acme.list_tasks(tenant="other") == ()
    for reference in (foreign.id, foreign.code, foreign.key):
        for verb in (
            acme.get_task,
            acme.task_history,
            acme.task_attempts,
            acme.cancel_task,
            acme.retry_task,
            acme.wait_task,
        ):
            with pytest.raises(TaskNotFound):
                verb(reference)
    assert acme.cancel_tasks(status="QUEUED") == 1
    assert acme.retry_tasks(status="CANCELED") == 1
    assert foreign.refresh().status is TaskStatus.QUEUED
    assert len(acme.task_history(mine.key)) >= 3


def test_a_scoped_client_submits_for_no_other_tenant(taskdb: TaskDB) -> None:
    with pytest.raises(InvalidInput, match="tenant: 'other' is out of the scope"):
        taskdb.for_tenant("acme").submit_task("echo", LARGE, tenant="other")
    with pytest.raises(InvalidInput, match="tenant: '' is out of the scope"):
        taskdb.for_tenant("a", "b").submit_task("echo", LARGE)
    assert taskdb.for_tenant("a", "b").submit_task("echo", tenant="b").tenant == "b"
    assert count(taskdb) == 1 and files(taskdb) == []


def test_a_scope_can_only_be_narrowed(taskdb: TaskDB) -> None:
    both = taskdb.for_tenant("a", "b")
    assert both.for_tenant("a").scope.tenants == ("a",)
    for wrong in ((), (None,), (5,)):
        with pytest.raises(ValueError, match="tenant"):
            taskdb.for_tenant(*wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="may not see"):
        both.for_tenant("c")


def test_an_entity_of_a_scoped_client_stays_in_the_scope(taskdb: TaskDB) -> None:
    entity = taskdb.for_tenant("acme").submit_task("echo")
    with taskdb.store.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE taskdb_task SET tenant = 'other'")
    with pytest.raises(TaskNotFound):
        entity.refresh()


# --- reading --------------------------------------------------------------------------------------


def test_a_task_is_found_by_id_code_and_key(taskdb: TaskDB) -> None:
    entity = taskdb.submit_task("echo", tenant="with # in it")
    for reference in (entity.id, entity.id.upper(), entity.code, entity.code.lower(), entity.key):
        assert taskdb.get_task(reference).id == entity.id
    wrong = entity.key.replace("TASK#with", "TASK#without")
    for reference in (wrong, "", "nothing", entity.id[:-1], "TASK#", None, 5):
        with pytest.raises(TaskNotFound):
            taskdb.get_task(reference)  # type: ignore[arg-type]


def test_pages_hold_every_task_once_while_new_ones_come(taskdb: TaskDB) -> None:
    made = [one.id for one in taskdb.submit_many("plus", [{"a": n} for n in range(25)])]
    found: list[str] = []
    cursor = None
    while True:
        page = taskdb.list_tasks(limit=10, cursor=cursor)
        found += [one.id for one in page]
        taskdb.submit_task("echo")
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == list(reversed(made))


@each(
    "options, path",
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1_001}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"order": "random"}, "order"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"stauts": "FAILED"}, "stauts"),
        ({"search": "\x00"}, "search"),
    ],
)
def test_a_wrong_list_is_named(taskdb: TaskDB, options: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput, match=f"{path}: "):
        taskdb.list_tasks(**options)


# --- waiting --------------------------------------------------------------------------------------


@each("status", ["COMPLETED", "FAILED", "CANCELED", "HALTED"], alone=True)
def test_wait_ends_when_the_task_has_settled(taskdb: TaskDB, status: str) -> None:
    entity = taskdb.submit_task("echo")
    later = threading.Timer(0.1, end, (taskdb, entity.id, status))
    later.start()
    try:
        assert entity.wait(timeout=10).status == status
    finally:
        later.join()


def test_wait_gives_up_in_time_and_says_where_the_task_is(taskdb: TaskDB) -> None:
    entity = taskdb.submit_task("echo")
    with pytest.raises(WaitTimeout, match=r"is still QUEUED after 0\.1 s") as caught:
        entity.wait(timeout=0.1)
    assert isinstance(caught.value, TimeoutError) and caught.value.task_id == entity.id
    with pytest.raises(WaitTimeout):
        taskdb.wait_task(entity.id, timeout=0)


# --- by hand --------------------------------------------------------------------------------------


def test_cancel_and_retry_by_any_reference(taskdb: TaskDB) -> None:
    entity = taskdb.submit_task("echo")
    assert taskdb.cancel_task(entity.code).status is TaskStatus.CANCELED
    messages(taskdb)
    assert taskdb.retry_task(entity.key).status is TaskStatus.QUEUED
    assert ids(messages(taskdb)) == [entity.id]
    with pytest.raises(IllegalMove, match="cannot retry"):
        taskdb.retry_task(entity.id)
    end(taskdb, entity.id, "COMPLETED")
    with pytest.raises(IllegalMove, match="cannot cancel"):
        taskdb.cancel_task(entity.id)
    assert [event.to_status for event in taskdb.task_history(entity.id)] == [
        *("CREATED", "QUEUED", "CANCELED", "CREATED", "QUEUED", "STARTED", "COMPLETED")
    ]
    assert [one.number for one in taskdb.task_attempts(entity.id)] == [1]


def test_a_bulk_verb_needs_a_criterion_that_says_something(taskdb: TaskDB) -> None:
    taskdb.submit_many("echo", range(3))
    empty: list[dict[str, Any]] = [
        {},
        {"search": ""},
        {"attributes": {}},
        {"type": None},
        {"with_sub_tasks": True},
        {"status": []},
        {"status": [], "type": "echo"},
    ]
    for criteria in empty:
        for verb in (taskdb.cancel_tasks, taskdb.retry_tasks):
            with pytest.raises(InvalidInput):
                verb(**criteria)
    assert statuses(taskdb) == ["QUEUED"] * 3


def test_bulk_verbs_move_what_they_may_and_count_it(taskdb: TaskDB) -> None:
    found = taskdb.submit_many("echo", range(5), tags=["x"])
    taskdb.submit_task("echo")
    end(taskdb, found[0].id, "COMPLETED")
    assert taskdb.cancel_tasks(tag="x") == 4
    messages(taskdb)
    assert taskdb.retry_tasks(tag="x", status=["CANCELED"]) == 4
    assert sorted(ids(messages(taskdb))) == sorted(one.id for one in found[1:])
    assert sorted(statuses(taskdb)) == ["COMPLETED"] + ["QUEUED"] * 5
