"""Messages that the broker has lost: found, and published again, with each broker."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.submit_site import count, ids, messages, registry, settings

from taskdb import BrokerUnreachable, TaskDB, TaskStatus
from taskdb.model.clock import FixedClock
from taskdb.store.task.worker import Held, WorkerRecord, Workers
from taskdb_beat import Relay
from taskdb_beat.loops.requeue import Requeue

S = TaskStatus
MINUTE = timedelta(minutes=1)
GRACE = timedelta(seconds=11)
WORKER = WorkerRecord("w-1", "w", "host", 1, queues=("taskdb", "never-declared"))


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(params=["embedded", "redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path) -> str:
    if request.param == "embedded":
        return settings(sqlite_url, tmp_path).message_url
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def taskdb(sqlite_url: str, tmp_path: Path, broker: str, clock: FixedClock) -> Iterator[TaskDB]:
    given = settings(
        sqlite_url, tmp_path, broker_url=broker, worker_lease_seconds=600, publish_budget_seconds=60
    )
    with TaskDB(given, registry=registry(), clock=clock) as taskdb:
        yield taskdb


@pytest.fixture
def workers(taskdb: TaskDB) -> Workers:
    return taskdb.store.workers


def requeue(taskdb: TaskDB) -> Requeue:
    return Requeue(taskdb.settings, taskdb.store, taskdb.publisher)


def look_twice(look: Requeue, clock: FixedClock) -> None:
    """As beat does: a queue is empty, and was so when whoever took a message lists it by now."""
    look.run_once()
    clock.advance(GRACE)
    look.run_once()


def submitted(taskdb: TaskDB, number: int = 1) -> list[str]:
    found = [one.id for one in taskdb.submit_many("echo", range(number))]
    assert count(taskdb, S.QUEUED) == number
    return found


def test_a_wiped_broker_gets_every_message_again_with_the_same_ids(
    taskdb: TaskDB, workers: Workers, clock: FixedClock
) -> None:
    workers.announce(WORKER)
    lost = submitted(taskdb, 1_000)
    messages(taskdb)
    clock.advance(MINUTE)
    look = requeue(taskdb)
    look.run_once()
    assert count(taskdb, S.CREATED) == 0
    clock.advance(GRACE)
    look.run_once()
    assert count(taskdb, S.CREATED) == 1_000
    relay = Relay(taskdb.settings, taskdb.store, taskdb.publisher)
    while relay.run_once():
        pass
    assert sorted(ids(messages(taskdb))) == sorted(lost)
    assert "its queue is empty" in str(taskdb.task_history(lost[0])[2].detail)


def test_messages_that_are_there_are_left_alone(
    taskdb: TaskDB, workers: Workers, clock: FixedClock
) -> None:
    workers.announce(WORKER)
    submitted(taskdb)
    clock.advance(MINUTE)
    look_twice(requeue(taskdb), clock)
    assert count(taskdb, S.QUEUED) == 1
    assert len(messages(taskdb)) == 1


@pytest.mark.parametrize("why", ["fresh", "nobody consumes", "held by a live worker"])
def test_an_empty_queue_alone_says_nothing(
    taskdb: TaskDB, workers: Workers, clock: FixedClock, why: str
) -> None:
    if why != "nobody consumes":
        workers.announce(WORKER)
    [task_id] = submitted(taskdb)
    messages(taskdb)
    if why == "held by a live worker":
        workers.renew(WORKER, Held(("token",), (task_id,)))
    look = requeue(taskdb)
    if why == "fresh":
        # It was queued after the look that one may judge by.
        look.run_once()
        clock.advance(GRACE - timedelta(seconds=1))
        look.run_once()
    else:
        clock.advance(MINUTE)
        look_twice(look, clock)
    assert count(taskdb, S.QUEUED) == 1


def test_a_message_that_was_overtaken_is_sent_again(
    taskdb: TaskDB, workers: Workers, clock: FixedClock
) -> None:
    workers.announce(WORKER)
    lost, other = submitted(taskdb)[0], taskdb.submit_task("echo", priority=9).id
    messages(taskdb)
    clock.advance(2 * MINUTE)
    [later] = [taskdb.submit_task("echo").id]
    last = taskdb.submit_task("echo").id
    look = requeue(taskdb)
    look.run_once()
    assert taskdb.get_task(lost).status is S.QUEUED
    assert taskdb.store.runs.claim(later, token="t", worker="w-1", max_attempts=1).granted
    look.run_once()
    assert taskdb.get_task(lost).status is S.CREATED
    # Another line, and what came last.
    assert {taskdb.get_task(one).status for one in (other, last)} == {S.QUEUED}


def test_what_was_seen_to_be_taken_stays_known(
    taskdb: TaskDB, workers: Workers, clock: FixedClock
) -> None:
    workers.announce(WORKER)
    lost = submitted(taskdb)[0]
    messages(taskdb)
    clock.advance(2 * MINUTE)
    later, _ = [taskdb.submit_task("echo").id for _ in range(2)]
    look = requeue(taskdb)
    taken = taskdb.store.runs.claim(later, token="t", worker="w-1", max_attempts=1)
    workers.renew(WORKER, Held(("t",), (later, lost)))
    look.run_once()
    assert taken.granted and taskdb.get_task(lost).status is S.QUEUED
    taskdb.store.outcomes.hand_back(later, "t", "a test")
    workers.renew(WORKER, Held())
    look.run_once()
    assert taskdb.get_task(lost).status is S.CREATED


def test_what_was_queued_again_meanwhile_is_left_alone(taskdb: TaskDB, clock: FixedClock) -> None:
    look = requeue(taskdb)
    submitted(taskdb)
    [row] = look._suspects.queued(None, 10)
    assert look._suspects.hand_back([row], "a test", row.queued_at - MINUTE) == set()
    assert look._suspects.hand_back([row], "a test", row.queued_at) == {row.id}
    clock.advance(MINUTE)


def test_no_more_than_the_limit_goes_back_in_a_pass(
    sqlite_url: str, tmp_path: Path, clock: FixedClock
) -> None:
    given = settings(sqlite_url, tmp_path, worker_lease_seconds=600, reconcile_batch=30)
    with TaskDB(given, registry=registry(), clock=clock) as taskdb:
        taskdb.store.workers.announce(WORKER)
        submitted(taskdb, 50)
        messages(taskdb)
        clock.advance(MINUTE)
        look = requeue(taskdb)
        look_twice(look, clock)
        assert count(taskdb, S.CREATED) == 30
        look.run_once()
        assert count(taskdb, S.CREATED) == 50


def test_a_broker_that_is_away_says_nothing(
    sqlite_url: str, tmp_path: Path, clock: FixedClock
) -> None:
    with TaskDB(settings(sqlite_url, tmp_path), registry=registry(), clock=clock) as taskdb:
        taskdb.store.workers.announce(WORKER)
        submitted(taskdb)
        away = settings(sqlite_url, tmp_path, broker_url="redis://127.0.0.1:1/0")
        with TaskDB(away, registry=registry(), clock=clock) as cut_off:
            look = requeue(cut_off)
            with pytest.raises(BrokerUnreachable):
                look.run_once()
        assert count(taskdb, S.QUEUED) == 1
