"""Every cause that keeps a task where it is, told from the rows alone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskdb.celery.broker_state import BrokerState
from taskdb.client.explanation import Explanation, explain
from taskdb.model.clock import FixedClock
from taskdb.model.outcome import NO_REPORT
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from taskdb.store.task.worker import WorkerRecord
from taskdb.store.tree.callback import digest_of
from tests.cases import each
from tests.store.tasks import (
    HOUR,
    LEASE,
    Run,
    create,
    in_status,
    queued,
    running,
    stray,
    write,
)
from tests.store.trees import end, fan_out, part_ids

HERE = BrokerState(messages=3)
AWAY = BrokerState(away="OperationalError: connection refused")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOLDER = "01900000-0000-7000-8000-000000000001"


@pytest.fixture(autouse=True)
def _time_stands_still(store: Store) -> None:
    """A slow machine would show other durations."""
    store.database.keep_time(FixedClock(NOW))


def why(store: Store, task_id: str, broker: BrokerState = HERE) -> Explanation:
    return explain(
        store.situations.get(task_id, EVERYONE, lease=LEASE), lambda _: broker, lease=LEASE
    )


def worker(store: Store, name: str = "w-1", **values: Any) -> WorkerRecord:
    given: dict[str, Any] = {"queues": ("taskdb",), "types": ("sum",), **values}
    record = WorkerRecord(name, f"{name}@host", "host", 1, **given)
    store.workers.announce(record)
    return record


def held(store: Store, rule: str) -> str:
    task_id = create(store)
    write(store, "UPDATE taskdb_task SET held_by = :rule WHERE id = :id", rule=rule, id=task_id)
    return task_id


def take_slot(store: Store, key: str, *, until: float | None = None) -> None:
    d = store.database.dialect
    end_of_window = "NULL" if until is None else d.later(":until")
    task = "CAST(:task AS UUID)" if d.name == "postgresql" else ":task"
    bound = {} if until is None else {"until": until}
    write(
        store,
        "INSERT INTO taskdb_slot (key, n, task_id, until)"
        f" VALUES (:key, 0, {task}, {end_of_window})",
        key=key,
        task=HOLDER,
        **bound,
    )


def set_limit_row(store: Store, target: str, name: str, **values: Any) -> None:
    columns = {"target": target, "name": name, **values}
    paused = "true" if "max_running" not in values and "max_starts" not in values else "false"
    write(
        store,
        f"INSERT INTO taskdb_limit ({', '.join(columns)}, is_paused)"
        f" VALUES ({', '.join(f':{one}' for one in columns)}, {paused})",
        **columns,
    )


@each(
    "status, cause, part",
    [
        (TaskStatus.COMPLETED, "completed", "after 1 attempt"),
        (TaskStatus.FAILED, "failed", "oops"),
        (TaskStatus.CANCELED, "canceled", "it ended 0 s ago, after 1 attempt"),
        (TaskStatus.HALTED, "halted", "waits for a person: oops"),
        (TaskStatus.SCHEDULED, "due_later", "(in 60 min)"),
        (TaskStatus.ERRORED, "backing_off", "attempt 1 ended with ValueError: oops"),
    ],
    alone=True,
)
def test_a_status_that_says_it_all(store: Store, status: TaskStatus, cause: str, part: str) -> None:
    told = why(store, in_status(store, status).id)
    assert (told.cause, told.status) == (cause, status)
    assert part in told.sentence


def test_not_published_yet_and_too_late(store: Store) -> None:
    task_id = create(store)
    assert "the relay may in 5 s" in why(store, task_id).sentence
    d = store.database.dialect
    write(store, f"UPDATE taskdb_task SET relay_at = {d.later('-:ago')}", ago=50.0)
    told = why(store, task_id)
    assert told.cause == "not_published"
    assert "its time came 50 s ago" in told.sentence and "beat" in told.advice


@pytest.mark.parametrize("make", [create, lambda store: queued(store).id])
def test_the_broker_is_away(store: Store, make: Callable[[Store], str]) -> None:
    told = why(store, make(store), AWAY)
    assert told.cause == "broker_away"
    assert "connection refused" in told.sentence


def test_nobody_takes_its_queue(store: Store) -> None:
    run = queued(store)
    assert "there is no live worker" in why(store, run.id).sentence
    worker(store, queues=("other",))
    told = why(store, run.id)
    assert told.cause == "no_consumer"
    assert "(1 live)" in told.sentence and "-Q taskdb" in told.advice


def test_no_live_worker_knows_its_type(store: Store) -> None:
    worker(store, types=("other",))
    run = queued(store)
    assert why(store, run.id).cause == "unknown_type"
    # A worker has given it back, and the relay will publish it once more.
    stray(store, run.id, delay=HOUR, limit=9)
    told = why(store, run.id)
    assert (told.cause, told.status) == ("unknown_type", TaskStatus.CREATED)


def test_it_waits_for_its_turn(store: Store) -> None:
    worker(store)
    first, second = queued(store), queued(store)
    running(store)
    assert "with 0 before it" in why(store, first.id).sentence
    told = why(store, second.id)
    assert told.cause == "queued"
    assert "with 1 before it; 1 worker on that queue, 1 task running" in told.sentence
    assert told.facts["messages"] == 3


def test_it_runs_and_someone_asked_it_to_stop(store: Store) -> None:
    worker(store)
    run = running(store)
    told = why(store, run.id)
    assert told.cause == "running"
    assert "runs on w-1@host" in told.sentence and "seen 0 s ago" in told.sentence
    store.interventions.cancel(run.id, EVERYONE)
    assert why(store, run.id).cause == "cancel_requested"


def test_its_worker_is_dead(store: Store) -> None:
    run = running(store)
    assert "was never seen" in why(store, run.id).sentence
    worker(store)
    d = store.database.dialect
    write(store, f"UPDATE taskdb_worker SET seen_at = {d.later('-:ago')}", ago=100.0)
    told = why(store, run.id)
    assert told.cause == "worker_lost"
    assert "was last seen 100 s ago; the rescue takes it back at once" in told.sentence


def test_it_waits_for_a_callback(store: Store) -> None:
    run = running(store)
    store.callbacks.expect(run.id, run.token, digest_of("t"), timedelta(hours=1))
    store.callbacks.wait(run.id, run.token, NO_REPORT, [])
    told = why(store, run.id)
    assert told.cause == "callback"
    assert "until 20" in told.sentence and told.facts["until"]


def test_it_waits_for_sub_tasks_and_for_a_join_that_nobody_asked_for(store: Store) -> None:
    parent = fan_out(store, 3)
    first, second, third = part_ids(store, parent)
    end(store, first)
    told = why(store, parent)
    assert told.cause == "sub_tasks"
    assert "2 sub-tasks (parts)" in told.sentence
    assert told.facts["first_open"] == second
    write(store, "UPDATE taskdb_task SET status = 'COMPLETED' WHERE parent_id = :id", id=parent)
    assert why(store, parent).cause == "join_missing"
    assert third


def test_a_mutex_that_another_task_has(store: Store) -> None:
    take_slot(store, "mutex:acme/stock")
    told = why(store, held(store, "mutex:acme/stock"))
    assert told.cause == "held_by_mutex"
    assert told.sentence.endswith(f"mutex 'acme/stock', which {HOLDER} has")
    assert told.facts["holders"] == [HOLDER]
    assert "is free" in why(store, held(store, "mutex:acme/other")).sentence


def test_a_limit_on_how_many_run(store: Store) -> None:
    take_slot(store, "running:type:sum")
    set_limit_row(store, "type", "sum", max_running=1)
    told = why(store, held(store, "running:type:sum"))
    assert told.cause == "held_by_running_limit"
    assert "limit of 1 on how many of type 'sum'" in told.sentence and HOLDER in told.sentence


def test_a_limit_on_how_many_start(store: Store) -> None:
    take_slot(store, "starts:tenant:acme", until=60.0)
    told = why(store, held(store, "starts:tenant:acme"))
    assert told.cause == "held_by_start_limit"
    assert "the next place is free at" in told.sentence


def test_somebody_paused_its_queue(store: Store) -> None:
    store.limits.pause(("queue", "taskdb"), EVERYONE, "the bank is down", by="ada")
    told = why(store, held(store, "paused:queue:taskdb"))
    assert told.cause == "paused"
    assert "queue 'taskdb' was paused by ada 0 s ago (the bank is down)" in told.sentence
    assert told.advice == "taskdb resume --queue taskdb"


@pytest.mark.parametrize("rule", ["window", "admission"])
def test_a_rule_without_a_name(store: Store, rule: str) -> None:
    assert why(store, held(store, rule)).cause == f"held_by_{rule}"


def test_nothing_is_said_that_a_program_cannot_read(store: Store) -> None:
    told = why(store, Run(create(store)).id)
    assert all(isinstance(value, str | int | list | None) for value in told.facts.values())
