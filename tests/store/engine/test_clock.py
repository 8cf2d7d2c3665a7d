"""A store with a clock of its own: every verb takes its time from there."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from taskdb.model.clock import FixedClock
from taskdb.model.entity import TaskEntity
from taskdb.model.outcome import Report
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from taskdb.store.task.worker import Held, WorkerRecord
from tests.cases import each
from tests.store.task.test_run import OUTCOMES, UNCLAIMED, end
from tests.store.tasks import (
    HOUR,
    LEASE,
    OOPS,
    SOON,
    claim,
    create,
    publication,
    queued,
    running,
    stray,
)

PAST = datetime(2001, 2, 3, 4, 5, 6, 789000, UTC)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(PAST)


@pytest.fixture
def store(store_url: str, clock: FixedClock) -> Iterator[Store]:
    with Store(store_url, clock=clock).closing() as opened:
        yield opened


def assert_moved_at(store: Store, task_id: str, at: datetime) -> TaskEntity:
    task = store.tasks.get(task_id, EVERYONE)
    assert task.updated_at == at
    assert store.tasks.history(task_id, EVERYONE)[-1].at == at
    return task


@each("verb", OUTCOMES, alone=True)
def test_an_outcome_is_of_its_time(store: Store, clock: FixedClock, verb: str) -> None:
    began = clock.at
    run = running(store)
    clock.advance(HOUR)
    end(store, verb, run)
    task = assert_moved_at(store, run.id, began + HOUR)
    assert task.started_at == began
    assert task.ended_at in {None, began + HOUR}
    assert task.run_at in {None, began + 2 * HOUR}


@pytest.mark.parametrize("verb", ["hand_back_unclaimed", "expire"])
def test_the_end_of_what_waits_is_of_its_time(store: Store, clock: FixedClock, verb: str) -> None:
    run = queued(store, deadline_at=PAST + HOUR)
    clock.advance(HOUR)
    assert UNCLAIMED[verb][0](store, run.id, "t")
    assert_moved_at(store, run.id, PAST + HOUR)


def test_a_revocation_is_of_its_time(store: Store, clock: FixedClock) -> None:
    run = running(store)
    store.interventions.cancel(run.id, EVERYONE)
    clock.advance(HOUR)
    assert store.take_backs.revoke(run.id, run.token, OOPS)
    assert_moved_at(store, run.id, PAST + HOUR)


def test_all_others_are_of_their_time(store: Store, clock: FixedClock) -> None:
    task_id = create(store, unique_key="k", delay=HOUR)
    assert store.tasks.get(task_id, EVERYONE).created_at == PAST
    assert store.tasks.get(task_id, EVERYONE).run_at == PAST + HOUR
    clock.advance(HOUR)
    (item,) = store.publications.lease_due(1, LEASE)
    assert item.relay_at == PAST + HOUR + LEASE
    store.publications.end_lease([item])
    store.publications.mark_queued([publication(store, task_id)])
    assert assert_moved_at(store, task_id, PAST + HOUR).queued_at == PAST + HOUR
    clock.advance(HOUR)
    stray(store, task_id, delay=SOON, limit=9)
    assert_moved_at(store, task_id, PAST + 2 * HOUR)
    claim(store, task_id)
    clock.advance(HOUR)
    store.runs.progress(task_id, "token-1", Report(current=1))
    assert_moved_at(store, task_id, PAST + 3 * HOUR)
    clock.advance(HOUR)
    store.runs.progress(task_id, "token-1", Report(current=2))
    assert store.tasks.get(task_id, EVERYONE).updated_at == PAST + 4 * HOUR
    store.interventions.cancel(task_id, EVERYONE)
    assert store.tasks.get(task_id, EVERYONE).cancel_requested_at == PAST + 4 * HOUR
    store.runs.remark(task_id, {"a": "remark"})
    assert_moved_at(store, task_id, PAST + 4 * HOUR)
    clock.advance(HOUR)
    store.take_backs.rescue(OOPS, lease=SOON, limit=1, max_crashes=3)
    assert assert_moved_at(store, task_id, PAST + 5 * HOUR).ended_at == PAST + 5 * HOUR
    clock.advance(HOUR)
    store.interventions.retry(task_id, EVERYONE)
    assert_moved_at(store, task_id, PAST + 6 * HOUR)
    claim(store, task_id)
    clock.advance(HOUR)
    assert store.endings.hand_back_worker("w-1", "shutdown") == 1
    assert_moved_at(store, task_id, PAST + 7 * HOUR)


def test_a_clock_that_steps_back_breaks_no_history(store: Store, clock: FixedClock) -> None:
    run = running(store)
    clock.advance(-HOUR)
    store.outcomes.fail(run.id, run.token, OOPS)
    assert [event.to_status for event in store.tasks.history(run.id, EVERYONE)] == [
        "CREATED",
        "STARTED",
        "FAILED",
    ]
    assert len(store.tasks.events_after(None, 10, EVERYONE).events) == 3


def test_workers_are_seen_by_the_clock(store: Store, clock: FixedClock) -> None:
    workers = store.workers
    workers.announce(WorkerRecord("w-1", "name", "host", 1, ("q",), ("t",)))
    clock.advance(timedelta(seconds=10))
    assert workers.seen_since(9) == []
    (found,) = workers.seen_since(10)
    assert (found.id, found.queues, found.types, found.seen_at) == ("w-1", ("q",), ("t",), PAST)
    workers.renew(found, Held())
    assert [one.seen_at for one in workers.seen_since(0)] == [PAST + timedelta(seconds=10)]
    run = running(store)
    store.interventions.cancel(run.id, EVERYONE)
    clock.advance(timedelta(seconds=7))
    (request,) = workers.cancel_requests("w-1")
    assert (request.task_id, request.token, round(request.waited_seconds)) == (run.id, run.token, 7)
    workers.stopped("w-1")
    assert workers.seen_since(60) == []
