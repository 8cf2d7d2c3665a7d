"""A client whose queues, types, priorities and origin the application has fixed."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cases import each
from tests.integration.submit_site import client, count, engine_on, files
from tests.store.trees import end

from taskdb import (
    InvalidInput,
    Sequence,
    Step,
    TaskDB,
    TaskStatus,
    UnknownTaskType,
    submitting_as,
    task,
)
from taskdb.model.fan_out import FanOut

SECRET = "operator.only"


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with client(store_url, tmp_path) as taskdb:
        own: dict[str, Any] = {"registry": taskdb.types.registry}
        task(SECRET, **own)(lambda: None)
        task("elsewhere", queue="elsewhere", **own)(lambda: None)
        task("urgent", priority=9, **own)(lambda: None)
        task("joins", on_join=SECRET, **own)(lambda: None)
        Sequence("allowed", ["echo", "echo"], **own)
        Sequence("outside", ["echo", "echo"], **own)
        Sequence("step", ["echo", SECRET], **own)
        Sequence("handled", ["echo"], on_error=SECRET, **own)
        Sequence("parted", [Step(SECRET, fan_out=FanOut())], **own)
        Sequence("queued", [Step("echo", queue="elsewhere")], **own)
        Sequence("nested", [Step(taskdb.types.registry.sequence("outside"))], **own)
        yield taskdb


@pytest.fixture
def acme(taskdb: TaskDB) -> TaskDB:
    types = ("echo", "elsewhere", "urgent", "joins", "unknown", "allowed", "step", "handled")
    types += ("parted", "queued", "nested")
    return taskdb.for_tenant("acme", types=types, queues=["taskdb", "bulk"], priorities=range(8))


REFUSED: dict[str, Callable[[TaskDB], Any]] = {
    "type": lambda acme: acme.submit_task(SECRET),
    "no type": lambda acme: acme.submit_task("no.such"),
    "no text": lambda acme: acme.submit_task(None),  # type: ignore[arg-type]
    "many": lambda acme: acme.submit_many(SECRET, [None, None]),
    "queue": lambda acme: acme.submit_task("echo", 1, queue="elsewhere"),
    "declared queue": lambda acme: acme.submit_task("elsewhere"),
    "priority": lambda acme: acme.submit_task("echo", 1, priority=9),
    "declared priority": lambda acme: acme.submit_task("urgent"),
    "later": lambda acme: acme.submit_task("echo", 1, queue="elsewhere", delay=60),
    "fan-out": lambda acme: acme.submit_fan_out(SECRET, [None]),
    "empty fan-out": lambda acme: acme.submit_fan_out(SECRET, []),
    "part": lambda acme: acme.submit_fan_out("elsewhere", [None]),
    "part's queue": lambda acme: acme.submit_fan_out("echo", [1], queue="elsewhere"),
    "part's priority": lambda acme: acme.submit_fan_out("echo", [1], priority=9),
    "join": lambda acme: acme.submit_fan_out("echo", [1], on_join=SECRET),
    "declared join": lambda acme: acme.submit_fan_out("joins", [None]),
    "sequence": lambda acme: acme.submit_sequence("outside"),
    "no sequence": lambda acme: acme.submit_sequence("no.such"),
    "step": lambda acme: acme.submit_sequence("step"),
    "handler": lambda acme: acme.submit_sequence("handled"),
    "parts of a step": lambda acme: acme.submit_sequence("parted"),
    "queue of a step": lambda acme: acme.submit_sequence("queued"),
    "sequence as a step": lambda acme: acme.submit_sequence("nested"),
    "queue of a sequence": lambda acme: acme.submit_sequence("allowed", queue="elsewhere"),
    "schedule": lambda acme: acme.schedules.create("s", SECRET, every=60),
    "schedule's queue": lambda acme: acme.schedules.create(
        "s", "echo", every=60, queue="elsewhere"
    ),
    "schedule's priority": lambda acme: acme.schedules.create("s", "echo", every=60, priority=9),
    "check": lambda acme: acme.schedules.check("s", SECRET, every=60),
    "coroutine": lambda acme: asyncio.run(acme.submit_task_async(SECRET)),
    "coroutine of a tree": lambda acme: asyncio.run(acme.submit_fan_out_async(SECRET, [None])),
}


@each("submit", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_allowed_is_refused_and_nothing_is_written(
    taskdb: TaskDB, acme: TaskDB, submit: Callable[[TaskDB], Any]
) -> None:
    with pytest.raises(InvalidInput, match="is not allowed for this client: pass one of") as raised:
        submit(acme)
    told = str(raised.value)
    assert "plus" not in told
    assert "operator.only" not in told.replace("'operator.only' is not allowed", "")
    assert count(taskdb) == 0
    assert files(taskdb) == []
    assert taskdb.schedules.list() == []


def test_a_type_that_is_allowed_and_unknown_names_no_others(acme: TaskDB) -> None:
    with pytest.raises(UnknownTaskType, match="Registered: echo, elsewhere, joins, urgent") as told:
        acme.submit_task("unknown")
    assert not {SECRET, "plus"} & set(told.value.known)


def test_what_is_allowed_is_submitted(taskdb: TaskDB, acme: TaskDB) -> None:
    acme.submit_task("echo", 1)
    acme.submit_task("elsewhere", queue="bulk", priority=0)
    acme.submit_task("urgent", priority=7)
    acme.submit_fan_out("elsewhere", [None], queue="bulk")
    acme.submit_sequence("allowed")
    acme.schedules.create("s", "echo", every=60)
    assert {one.tenant for one in taskdb.list_tasks(with_sub_tasks=True)} == {"acme"}


def test_the_transaction_of_a_caller_changes_nothing(
    store_url: str, taskdb: TaskDB, acme: TaskDB
) -> None:
    engine = engine_on(store_url)
    with engine.begin() as connection:
        with pytest.raises(InvalidInput, match="not allowed"):
            acme.submit_task(SECRET, session=connection)
        with pytest.raises(InvalidInput, match="not allowed"):
            acme.submit_fan_out("echo", [1], on_join=SECRET, session=connection)
    engine.dispose()
    assert count(taskdb) == 0


def test_a_unique_key_does_not_lead_around_the_lists(taskdb: TaskDB, acme: TaskDB) -> None:
    first = taskdb.submit_task("echo", 1, unique_key="k", tenant="acme", delay=3_600)
    with pytest.raises(InvalidInput, match="not allowed"):
        acme.submit_task("echo", 2, unique_key="k", queue="elsewhere")
    assert taskdb.get_task(first.id).input == 1


@each(
    "wider",
    [
        {"types": ["echo", SECRET]},
        {"queues": ["bulk", "elsewhere"]},
        {"priorities": [9]},
        {"created_by": "mallory"},
        {"created_ip": "198.51.100.7"},
        {"request_id": "another"},
    ],
)
def test_a_client_is_narrowed_and_never_widened(taskdb: TaskDB, wider: dict[str, Any]) -> None:
    fixed = {"created_by": "ann", "created_ip": "192.0.2.1", "request_id": "r-1"}
    lists = {"types": ["echo"], "queues": ["taskdb", "bulk"], "priorities": [1, 5]}
    acme = taskdb.for_tenant("acme", "beta", **fixed, **lists)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=next(iter(wider))) as raised:
        acme.for_tenant("acme", **wider)
    assert "ann" not in str(raised.value)
    again = acme.for_tenant("acme", queues=["bulk"])
    assert again.permission.types == ("echo",)
    with pytest.raises(InvalidInput, match="queue: 'taskdb' is not allowed"):
        again.submit_task("echo", 1)
    assert again.submit_task("echo", 1, queue="bulk").created_by == "ann"


def test_an_empty_list_allows_nothing(taskdb: TaskDB) -> None:
    none = taskdb.for_tenant("acme", types=[])
    with pytest.raises(InvalidInput, match="pass one of none"):
        none.submit_task("echo")
    with pytest.raises(InvalidInput, match="types"):
        none.for_tenant("acme", types=["echo"])


@each(
    "wrong",
    [
        {"types": "echo"},
        {"queues": [7]},
        {"queues": "bulk"},
        {"priorities": [10]},
        {"priorities": [True]},
        {"priorities": 5},
        {"created_by": 7},
        {"created_by": ""},
        {"created_ip": "a\x00b"},
        {"request_id": "x" * 5_000},
    ],
)
def test_a_list_that_is_none_is_refused(taskdb: TaskDB, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        taskdb.for_tenant("acme", **wrong)


def test_a_fixed_origin_comes_before_what_a_caller_says(taskdb: TaskDB) -> None:
    fixed = {"created_by": "ann", "created_ip": "192.0.2.1", "request_id": "r-1"}
    told = {"created_by": "mallory", "created_ip": "198.51.100.7", "request_id": "r-2"}
    acme = taskdb.for_tenant("acme", **fixed)  # type: ignore[arg-type]
    with submitting_as(**told):
        acme.submit_task("echo", 1)
        acme.submit_many("echo", [1, 2], **told)
        acme.submit_fan_out("echo", [1], on_join="echo", **told)
        acme.submit_sequence("allowed", **told)
        schedule = acme.schedules.create(
            "s", "echo", every=timedelta(hours=1), created_by="mallory"
        )
    acme.schedules.run_now("s")
    found = taskdb.list_tasks(with_sub_tasks=True)
    assert len(found) == 8
    assert {(one.created_by, one.created_ip, one.request_id) for one in found} == {
        ("ann", "192.0.2.1", "r-1")
    }
    assert schedule.created_by == "ann"


def test_what_is_not_fixed_is_the_callers_to_say(taskdb: TaskDB) -> None:
    acme = taskdb.for_tenant("acme", created_by="ann")
    with submitting_as(request_id="r-2", created_by="mallory"):
        found = acme.submit_task("echo", 1, created_ip="198.51.100.7")
    assert (found.created_by, found.created_ip, found.request_id) == (
        "ann",
        "198.51.100.7",
        "r-2",
    )


# --- run again ------------------------------------------------------------------------------------


def failed(taskdb: TaskDB, type_name: str, **options: Any) -> str:
    task_id = taskdb.submit_task(type_name, tenant="acme", **options).id
    end(taskdb.store, task_id, well=False)
    return task_id


@each(
    "place",
    [
        {"type_name": SECRET},
        {"type_name": "elsewhere"},
        {"type_name": "echo", "priority": 9},
        {"type_name": "echo", "queue": "elsewhere"},
    ],
    alone=True,
)
def test_what_a_client_may_not_run_it_does_not_run_again(
    taskdb: TaskDB, acme: TaskDB, place: dict[str, Any]
) -> None:
    task_id = failed(taskdb, **place)
    for force in (False, True):
        with pytest.raises(InvalidInput, match="not allowed for this client"):
            acme.retry_task(task_id, force=force)
        assert acme.retry_tasks(tenant="acme", status="FAILED", force=force) == 0
    assert taskdb.get_task(task_id).status is TaskStatus.FAILED
    assert taskdb.retry_task(task_id).attempt == 1


def test_a_bulk_retry_runs_what_is_allowed(taskdb: TaskDB, acme: TaskDB) -> None:
    mine = [failed(taskdb, "echo"), failed(taskdb, "elsewhere", queue="bulk")]
    others = [failed(taskdb, SECRET), failed(taskdb, "urgent")]
    assert acme.retry_tasks(status="FAILED") == 2
    assert {taskdb.get_task(one).status for one in others} == {TaskStatus.FAILED}
    assert TaskStatus.FAILED not in {taskdb.get_task(one).status for one in mine}


def test_a_tree_is_not_run_again_with_what_is_not_allowed(taskdb: TaskDB, acme: TaskDB) -> None:
    for parent in (
        taskdb.submit_sequence("step", tenant="acme"),
        taskdb.submit_fan_out("echo", [1], on_join=SECRET, tenant="acme"),
        taskdb.submit_fan_out("echo", [1], queue="elsewhere", tenant="acme"),
    ):
        (part,) = taskdb.trees.sub_tasks(parent.id)
        end(taskdb.store, part.id, well=False)
        assert taskdb.get_task(parent.id).status is TaskStatus.FAILED
        for force in (False, True):
            with pytest.raises(InvalidInput, match="not allowed for this client"):
                acme.retry_task(parent.id, force=force)
        assert acme.retry_tasks(type=parent.type, status="FAILED") == 0
        assert taskdb.get_task(parent.id).status is TaskStatus.FAILED


def test_a_tree_that_is_allowed_is_run_again(taskdb: TaskDB, acme: TaskDB) -> None:
    ids = [acme.submit_sequence("allowed").id, acme.submit_fan_out("echo", [1], queue="bulk").id]
    for parent in ids:
        (part,) = taskdb.trees.sub_tasks(parent)
        end(taskdb.store, part.id, well=False)
        assert acme.retry_task(parent).status is TaskStatus.PROCESSING
        end(taskdb.store, part.id, well=False)
    assert acme.retry_tasks(status="FAILED") == 2


def test_a_schedule_of_a_type_that_is_not_allowed_is_not_resumed_or_run(
    taskdb: TaskDB, acme: TaskDB
) -> None:
    taskdb.schedules.create("s", SECRET, every=60, tenant="acme")
    taskdb.schedules.pause("s")
    for act in (acme.schedules.resume, acme.schedules.run_now):
        with pytest.raises(InvalidInput, match="not allowed for this client"):
            act("s")
    assert not taskdb.schedules.get("s").is_enabled
    assert count(taskdb) == 0


def test_workers_and_beats_are_not_limited(taskdb: TaskDB, acme: TaskDB) -> None:
    taskdb.submit_task(SECRET, tenant="acme")
    assert count(taskdb) == 1
    assert [one.type for one in acme.list_tasks()] == [SECRET]
