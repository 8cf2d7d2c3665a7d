"""Rescue: what nobody runs any more is taken back, and what somebody runs is left alone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from taskdb.model.clock import FixedClock
from taskdb.model.status import TaskStatus as S
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from taskdb.store.task.worker import Held, WorkerRecord, Workers
from tests.store.tasks import OOPS, SOON, create, write

LEASE = timedelta(seconds=20)
BEAT = timedelta(seconds=5)
SECOND = timedelta(seconds=1)
W = WorkerRecord("w-1", "w", "host", 1)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def store(store_url: str, clock: FixedClock) -> Iterator[Store]:
    with Store(store_url, clock=clock).closing() as opened:
        yield opened


@pytest.fixture
def workers(store: Store) -> Workers:
    found = store.workers
    found.announce(W)
    return found


def claim(store: Store, token: str, *, worker: str = "w-1", may_rerun: bool = True) -> str:
    task_id = create(store)
    answer = store.runs.claim(
        task_id, token=token, worker=worker, max_attempts=1, may_rerun=may_rerun
    )
    assert answer.granted
    return task_id


def rescue(store: Store, *, max_crashes: int = 3) -> dict[str, S]:
    return store.take_backs.rescue(OOPS, lease=LEASE, limit=10, max_crashes=max_crashes)


def beat(workers: Workers, clock: FixedClock, *tokens: str) -> None:
    clock.advance(BEAT)
    workers.renew(W, Held(tokens))


def test_a_claim_that_its_worker_does_not_list_twice_is_taken_back(
    store: Store, workers: Workers, clock: FixedClock
) -> None:
    lost, kept = claim(store, "lost"), claim(store, "kept")
    beat(workers, clock, "kept")
    # It may have been claimed while that list was on its way.
    assert rescue(store) == {}
    beat(workers, clock, "kept")
    assert rescue(store) == {lost: S.ERRORED}
    assert store.tasks.get(kept, EVERYONE).status is S.STARTED


def test_a_claim_that_one_of_the_two_lists_has_is_left_alone(
    store: Store, workers: Workers, clock: FixedClock
) -> None:
    task_id = claim(store, "token")
    for listed in (["token"], [], ["token"]):
        beat(workers, clock, *listed)
        assert rescue(store) == {}
    beat(workers, clock)
    assert rescue(store) == {}
    beat(workers, clock)
    assert rescue(store) == {task_id: S.ERRORED}


def test_a_claim_made_between_two_lists_is_left_alone(
    store: Store, workers: Workers, clock: FixedClock
) -> None:
    beat(workers, clock)
    beat(workers, clock)
    clock.advance(BEAT)
    task_id = claim(store, "token")
    # The list was made before the claim and is written after it.
    workers.renew(W, Held())
    assert rescue(store) == {}
    beat(workers, clock, "token")
    assert rescue(store) == {}
    assert store.tasks.get(task_id, EVERYONE).status is S.STARTED


def test_a_worker_that_stops_is_not_judged_by_lists(
    store: Store, workers: Workers, clock: FixedClock
) -> None:
    early = claim(store, "early")
    beat(workers, clock, "early")
    late = claim(store, "late")
    for _ in range(5):
        clock.advance(BEAT)
        workers.renew(W, None)
        assert rescue(store) == {}
    clock.advance(LEASE + SECOND)
    assert rescue(store).keys() == {early, late}


def test_a_worker_that_lists_nothing_at_all_is_judged_by_its_lease(
    store: Store, workers: Workers, clock: FixedClock
) -> None:
    task_id = claim(store, "token")
    clock.advance(LEASE - SECOND)
    assert rescue(store) == {}
    clock.advance(2 * SECOND)
    assert rescue(store) == {task_id: S.ERRORED}
    assert workers.seen_since(LEASE.total_seconds()) == []


def test_what_must_not_run_again_is_failed(
    store: Store, workers: Workers, clock: FixedClock
) -> None:
    once = claim(store, "token", may_rerun=False)
    other = claim(store, "other", may_rerun=False)
    assert store.outcomes.crash(other, "other", OOPS, delay=SOON, max_crashes=3) is S.FAILED
    clock.advance(LEASE + SECOND)
    assert rescue(store) == {once: S.FAILED}
    for task_id in (once, other):
        found = store.tasks.get(task_id, EVERYONE)
        assert (found.crashes, found.spared) == (1, 0)
        assert found.ended_at is not None
    assert workers.seen_since(0) == []


def test_what_was_answered_from_outside_is_not_failed(store: Store, workers: Workers) -> None:
    task_id = claim(store, "token", may_rerun=False)
    write(store, "UPDATE taskdb_task SET called_back = 'COMPLETED' WHERE id = :id", id=task_id)
    assert store.outcomes.crash(task_id, "token", OOPS, delay=SOON, max_crashes=3) is S.ERRORED
    assert workers.seen_since(0)


def test_poison_names_the_workers_of_its_runs(store: Store, clock: FixedClock) -> None:
    task_id = create(store)
    for number in range(3):
        assert store.runs.claim(task_id, token="t", worker=f"w-{number}", max_attempts=9).granted
        clock.advance(LEASE)
        (status,) = rescue(store).values()
        clock.advance(SECOND)
    assert status is S.HALTED
    error = store.tasks.get(task_id, EVERYONE).error
    assert error is not None
    assert error.message == f"{OOPS.message}; its runs were on w-0,w-1,w-2"
    assert store.tasks.get(task_id, EVERYONE).crashes == 3


def test_an_error_before_the_last_crash_names_nobody(store: Store, clock: FixedClock) -> None:
    task_id = claim(store, "t", worker="unknown")
    clock.advance(LEASE)
    assert rescue(store) == {task_id: S.ERRORED}
    error = store.tasks.get(task_id, EVERYONE).error
    assert error is not None
    assert (error.message, error.attempt) == (OOPS.message, 1)


def test_a_rescue_is_planned_each_time_and_never_by_a_plan_that_reads_the_whole_table(
    postgresql_url: str,
) -> None:
    with Store(postgresql_url).closing() as store:
        for _ in range(12):
            create(store)
            rescue(store)
        rows = write(store, "SELECT statement FROM pg_prepared_statements")
    prepared = [row["statement"] for row in rows]
    assert any("INSERT INTO taskdb_task" in one for one in prepared)
    assert not [one for one in prepared if "claims_before" in one]
