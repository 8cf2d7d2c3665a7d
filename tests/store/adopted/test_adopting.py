"""Rows of adopted tasks: made and moved by what is seen of them, and by nobody else."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from taskdb.errors import IllegalMove, TaskIsAdopted
from taskdb.model.adopted import AdoptedReport, ReportKind
from taskdb.model.attempt import attempts_of
from taskdb.model.clock import FixedClock
from taskdb.model.entity import TaskEntity, TaskError
from taskdb.model.reference import adopted_id
from taskdb.model.retention import Retention
from taskdb.model.status import TaskStatus as S
from taskdb.store.contract import EVERYONE, Publication
from taskdb.store.doctor.lost_message import QueuedRow
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.store.task.worker import Held, WorkerRecord
from taskdb.store.upkeep import StoreUpkeep
from tests.cases import each
from tests.store.tasks import DONE, HOUR, OOPS, SOON, claim, create, stray, write

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=20)
W = WorkerRecord("w-1", "w", "host", 1)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def store(store_url: str, clock: FixedClock) -> Iterator[Store]:
    with Store(store_url, clock=clock, pool_size=10).closing() as opened:
        yield opened


def published(task_id: str | None = None, **values: Any) -> AdoptedReport:
    given: dict[str, Any] = {
        "id": task_id or str(uuid4()),
        "kind": ReportKind.PUBLISHED,
        "status": S.QUEUED,
        "at": NOON,
        "attempt": 0,
        "type": "shop.pack",
        "queue": "parcels",
        "input": {"args": [1], "kwargs": {"to": "Ada"}},
        "attributes": {"celery_root_id": "r"},
        "ran": False,
    }
    return AdoptedReport(**{**given, **values})


def begun(first: AdoptedReport, seconds: float = 1, **values: Any) -> AdoptedReport:
    given: dict[str, Any] = {"attempt": 1, "token": "t-1", "worker": "w-1", "ran": True, **values}
    at = NOON + timedelta(seconds=seconds)
    return replace(first, kind=ReportKind.BEGUN, status=S.STARTED, at=at, **given)


def ended(run: AdoptedReport, status: S, seconds: float = 2, **values: Any) -> AdoptedReport:
    at = NOON + timedelta(seconds=seconds)
    given: dict[str, Any] = {
        "kind": ReportKind.ENDED,
        "status": status,
        "at": at,
        "began_at": run.at,
    }
    return replace(run, **{**given, **values})


def in_status(store: Store, status: S) -> str:
    """An adopted task that was seen in this status."""
    first = published()
    run = begun(first)
    error = None if status is S.COMPLETED else TaskError("OSError", "no paper")
    seen = {
        S.QUEUED: [first],
        S.SCHEDULED: [replace(first, status=S.SCHEDULED, run_at=NOON)],
        S.STARTED: [run],
    }.get(status, [first, run, ended(run, status, error=error, run_at=NOON)])
    store.adopted.see(seen)
    assert store.tasks.get(first.id, EVERYONE).status is status
    return first.id


def moves(store: Store, task_id: str) -> list[str]:
    return [str(event.to_status) for event in store.tasks.history(task_id, EVERYONE)]


def test_a_task_that_was_seen_has_a_row_with_its_history(store: Store) -> None:
    first = published()
    run = begun(first)
    store.adopted.see([first, run, ended(run, S.COMPLETED, result={"sent": 2})])
    found = store.tasks.get(first.id, EVERYONE)
    assert found.is_adopted
    assert (found.type, found.queue, found.status) == ("shop.pack", "parcels", S.COMPLETED)
    assert (found.attempt, found.worker, found.max_attempts) == (1, "w-1", None)
    assert found.inline_input == {"args": [1], "kwargs": {"to": "Ada"}}
    assert found.inline_result == {"sent": 2}
    assert found.attributes == {"celery_root_id": "r"}
    assert found.created_at == found.queued_at == NOON
    assert found.ended_at == NOON + timedelta(seconds=2)
    assert moves(store, first.id) == ["CREATED", "QUEUED", "STARTED", "COMPLETED"]
    assert [event.at.second for event in store.tasks.history(first.id, EVERYONE)] == [0, 0, 1, 2]


def test_sightings_that_come_one_by_one_and_twice_write_what_those_of_a_batch_do(
    store: Store,
) -> None:
    first = published()
    run = begun(first)
    error = TaskError("OSError", "no paper", "a traceback")
    end = ended(run, S.ERRORED, error=error, run_at=NOON + HOUR)
    for one in (first, run, end):
        assert store.adopted.see([one])
        assert store.adopted.see([one, one]) == 0
    found = store.tasks.get(first.id, EVERYONE)
    assert found.status is S.ERRORED
    assert found.run_at == NOON + HOUR
    assert found.ended_at is None
    assert found.error == replace(error, attempt=1)
    assert store.tasks.history(first.id, EVERYONE)[-1].detail == {
        "error": "OSError",
        "message": "no paper",
    }


def test_an_attempt_whose_end_is_told_last_has_its_line_and_its_error(store: Store) -> None:
    first = published()
    one = begun(first, worker="w-1")
    two = begun(first, 11, attempt=2, token="t-2", worker="w-2")
    error = TaskError("OSError", "no paper")
    end = ended(one, S.ERRORED, error=error, run_at=NOON + HOUR)
    store.adopted.see([two])
    assert store.adopted.see([first, one, end, end]) == 1
    store.adopted.see([ended(two, S.COMPLETED, 12)])
    assert store.adopted.see([end]) == 0
    lines = store.tasks.history(first.id, EVERYONE)
    assert [str(line.to_status) for line in lines if line.from_status is not line.to_status] == [
        "CREATED", "STARTED", "ERRORED", "STARTED", "COMPLETED",
    ]  # fmt: skip
    attempts = [(one.number, one.worker, str(one.status)) for one in attempts_of(lines)]
    assert attempts == [(1, "w-1", "ERRORED"), (2, "w-2", "COMPLETED")]
    assert attempts_of(lines)[0].detail == {"error": "OSError", "message": "no paper"}
    assert store.tasks.get(first.id, EVERYONE).error is None


def test_what_is_known_later_fills_what_was_not(store: Store) -> None:
    first = published()
    run = replace(begun(first), input=None, queue="", attributes={})
    store.adopted.see([ended(run, S.COMPLETED)])
    assert store.tasks.get(first.id, EVERYONE).queue == "celery"
    store.adopted.see([first])
    found = store.tasks.get(first.id, EVERYONE)
    assert found.status is S.COMPLETED
    assert (found.queue, found.inline_input) == ("parcels", first.input)
    assert found.attributes == {"celery_root_id": "r"}
    assert (found.created_at, found.queued_at) == (NOON, NOON)


def test_many_processes_may_see_the_same_tasks_at_once(store: Store) -> None:
    firsts = [published() for _ in range(60)]
    runs = [begun(one) for one in firsts]
    ends = [ended(one, S.COMPLETED) for one in runs]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(store.adopted.see, [firsts, runs[::-1], ends, ends[::2] + runs[::3]]))
    for one in firsts:
        assert store.tasks.get(one.id, EVERYONE).status is S.COMPLETED
        assert moves(store, one.id).count("COMPLETED") == 1


def test_a_task_of_a_foreign_id_has_an_id_made_of_it(store: Store) -> None:
    made = adopted_id("order/4711")
    store.adopted.see([published(made)])
    assert store.tasks.get(made, EVERYONE).is_adopted
    assert adopted_id("order/4711") == made != adopted_id("order/4712")
    assert adopted_id(made.upper()) == made == adopted_id(made.replace("-", ""))


def test_an_owned_task_of_the_same_id_stays_as_it_is(store: Store) -> None:
    task_id = create(store)
    assert store.adopted.see([begun(published(task_id))]) == 0
    assert store.tasks.get(task_id, EVERYONE).status is S.CREATED
    assert not store.tasks.get(task_id, EVERYONE).is_adopted


@each("status", [S.QUEUED, S.SCHEDULED, S.STARTED, S.ERRORED, S.FAILED], alone=True)
def test_no_verb_of_owned_tasks_touches_an_adopted_one(
    store: Store, clock: FixedClock, status: S
) -> None:
    task_id = in_status(store, status)
    write(store, "UPDATE taskdb_task SET deadline_at = created_at WHERE id = :id", id=task_id)
    store.workers.announce(WorkerRecord("w-other", "other", "host", 2))
    before, history = store.tasks.get(task_id, EVERYONE), moves(store, task_id)
    clock.advance(timedelta(days=400))
    seen_at = clock.bound() or NOON

    assert store.publications.lease_due(100, LEASE) == []
    assert not claim(store, task_id)
    never = datetime(9999, 1, 1, tzinfo=UTC)
    assert store.publications.mark_queued([Publication(task_id, "t", "q", 5, never)]) == set()
    assert store.outcomes.complete(task_id, "t-1", DONE) is None
    assert store.outcomes.error(task_id, "t-2", OOPS, HOUR) is None
    assert store.outcomes.hand_back(task_id, "t-1", "shutdown") is None
    assert store.endings.hand_back_worker("w-1", "shutdown") == 0
    assert not store.take_backs.hand_back_unclaimed(task_id, "lost", SOON)
    assert stray(store, task_id, delay=SOON, limit=1) is None
    assert not store.take_backs.revoke(task_id, "t-1", OOPS)
    assert not store.take_backs.expire(task_id, OOPS)
    assert store.take_backs.expire_due(OOPS, 100) == {}
    assert store.take_backs.rescue(OOPS, lease=LEASE, limit=100, max_crashes=1) == {}
    assert store.runs.hold(task_id) == 0
    assert store.lost_messages.queued(None, 100) == []
    assert store.lost_messages.taken() == {}
    row = QueuedRow(task_id, None, "parcels", 5, NOON, NOON)
    assert store.lost_messages.hand_back([row], "lost", seen_at) == set()
    assert store.joins.neglected(100) == []
    assert not store.admission.has_held()

    assert store.tasks.get(task_id, EVERYONE) == before
    assert moves(store, task_id) == history


@each("status", [S.QUEUED, S.STARTED, S.ERRORED, S.FAILED, S.COMPLETED], alone=True)
def test_a_person_is_told_who_may_cancel_and_retry(store: Store, status: S) -> None:
    task_id = in_status(store, status)
    with pytest.raises(TaskIsAdopted, match=f"control revoke {task_id}") as refused:
        store.interventions.cancel(task_id, EVERYONE)
    assert isinstance(refused.value, IllegalMove)
    with pytest.raises(TaskIsAdopted, match=r"app\.send_task\('shop\.pack'"):
        store.interventions.retry(task_id, EVERYONE)
    assert store.tasks.get(task_id, EVERYONE).status is status


def test_bulk_verbs_leave_adopted_tasks_out(store: Store) -> None:
    waiting, failed = in_status(store, S.QUEUED), in_status(store, S.FAILED)
    owned = create(store, type="shop.pack")
    assert store.bulk.cancel(Filter(type="shop.pack"), EVERYONE) == 1
    assert [count for count, _ in store.bulk.retry(Filter(type="shop.pack"), EVERYONE)] == [1]
    assert store.tasks.get(waiting, EVERYONE).status is S.QUEUED
    assert store.tasks.get(failed, EVERYONE).status is S.FAILED
    assert store.tasks.get(owned, EVERYONE).status is S.CREATED


def test_lists_tell_adopted_tasks_from_others(store: Store) -> None:
    adopted, owned = in_status(store, S.QUEUED), create(store)

    def ids(**chosen: Any) -> set[str]:
        return {task.id for task in store.tasks.page(Filter(**chosen), EVERYONE, limit=10)}

    assert ids() == {adopted, owned}
    assert ids(adopted=True) == {adopted}
    assert ids(adopted=False) == {owned}


def test_what_a_dead_worker_ran_is_lost_until_something_is_seen_of_it(
    store: Store, clock: FixedClock
) -> None:
    store.workers.announce(W)
    first = published()
    store.adopted.see([begun(first)])
    clock.advance(LEASE / 2)
    assert store.adopted.lose(lease=LEASE, limit=10) == []
    clock.advance(LEASE)
    assert store.adopted.lose(lease=LEASE, limit=10) == [first.id]
    lost = store.tasks.get(first.id, EVERYONE)
    assert lost.status is S.FAILED
    assert lost.error is not None
    assert lost.error.type == "WorkerLost"
    assert "w" in lost.error.message
    assert store.adopted.lose(lease=LEASE, limit=10) == []

    again = begun(first, 90, token="t-2", worker="w-2")
    store.workers.announce(replace(W, id="w-2"))
    store.adopted.see([again, ended(again, S.COMPLETED, 95)])
    found = store.tasks.get(first.id, EVERYONE)
    assert (found.status, found.error, found.worker) == (S.COMPLETED, None, "w-2")


def test_a_late_word_of_the_run_itself_corrects_that_it_was_lost(
    store: Store, clock: FixedClock
) -> None:
    first = published()
    run = begun(first)
    store.adopted.see([run])
    clock.advance(LEASE * 2)
    assert store.adopted.lose(lease=LEASE, limit=10) == [first.id]
    store.adopted.see([ended(run, S.COMPLETED, 60)])
    assert store.tasks.get(first.id, EVERYONE).status is S.COMPLETED
    assert moves(store, first.id)[-4:] == ["FAILED", "CREATED", "STARTED", "COMPLETED"]


def test_what_a_live_worker_does_not_list_is_lost_too(store: Store, clock: FixedClock) -> None:
    workers = store.workers
    workers.announce(W)
    kept, gone = published(), published()
    store.adopted.see([begun(kept), begun(gone)])
    clock.advance(timedelta(seconds=5))
    workers.renew(W, Held((kept.id,)))
    assert store.adopted.lose(lease=LEASE, limit=10) == []
    clock.advance(timedelta(seconds=5))
    workers.renew(W, Held((kept.id,)))
    assert store.adopted.lose(lease=LEASE, limit=10) == [gone.id]


def test_a_guess_about_a_row_that_was_pruned_makes_none(store: Store) -> None:
    first = published()
    guess = replace(begun(first), kind=ReportKind.MISSED, status=S.FAILED)
    assert store.adopted.see([guess]) == 0
    assert store.tasks.page(Filter(), EVERYONE, limit=10) == []


def test_what_runs_where_nobody_watches_is_not_taken_for_lost(
    store: Store, clock: FixedClock
) -> None:
    store.adopted.see([begun(published(), worker=None)])
    clock.advance(timedelta(days=30))
    assert store.adopted.lose(lease=LEASE, limit=10) == []


def test_what_waits_and_was_not_seen_for_a_week_is_given_up(
    store: Store, clock: FixedClock
) -> None:
    waiting, later = published(), published(status=S.SCHEDULED, run_at=NOON + timedelta(days=20))
    store.adopted.see([waiting, later])
    clock.advance(timedelta(days=8))
    assert store.adopted.lose(lease=LEASE, limit=10) == [waiting.id]
    assert store.tasks.get(waiting.id, EVERYONE).status is S.CANCELED
    assert store.tasks.get(later.id, EVERYONE).status is S.SCHEDULED
    store.adopted.see([begun(waiting, 8 * 86_400 + 5)])
    assert store.tasks.get(waiting.id, EVERYONE).status is S.STARTED


def test_what_expired_and_was_dropped_by_its_broker_is_presumed_to_have(
    store: Store, clock: FixedClock
) -> None:
    soon, late = timedelta(seconds=30), timedelta(hours=2)
    gone, back, kept = (published(expires_at=NOON + after) for after in (soon, soon, late))
    run = begun(published(expires_at=NOON + soon), worker=None)
    store.adopted.see([gone, back, kept, run])
    assert store.tasks.get(gone.id, EVERYONE).deadline_at == NOON + soon
    clock.advance(timedelta(minutes=4))
    assert store.adopted.lose(lease=LEASE, limit=10) == []
    clock.advance(timedelta(minutes=2))
    assert store.tasks.get(run.id, EVERYONE).deadline_at is None
    assert set(store.adopted.lose(lease=LEASE, limit=10)) == {gone.id, back.id}
    assert store.adopted.lose(lease=LEASE, limit=10) == []
    found = store.tasks.get(gone.id, EVERYONE)
    assert (found.status, found.attempt) == (S.FAILED, 0)
    assert found.error is not None
    assert found.error.type == "PresumedExpired"
    assert [store.tasks.get(one.id, EVERYONE).status for one in (kept, run)] == [
        S.QUEUED,
        S.STARTED,
    ]

    # It was prefetched in time, and its worker was slow to tell.
    late_run = begun(back, 20)
    store.adopted.see([late_run, ended(late_run, S.COMPLETED, 21)])
    assert (
        store.tasks.get(back.id, EVERYONE).status,
        store.tasks.get(back.id, EVERYONE).error,
    ) == (
        S.COMPLETED,
        None,
    )


def test_adopted_tasks_that_expired_do_not_keep_others_from_expiring(
    store: Store, clock: FixedClock
) -> None:
    store.adopted.see([published(expires_at=NOON) for _ in range(3)])
    owned = create(store, deadline_at=NOON + timedelta(seconds=1))
    clock.advance(timedelta(seconds=9))
    assert list(store.take_backs.expire_due(OOPS, 2)) == [owned]


def test_adopted_tasks_are_pruned_as_others_are(store: Store, clock: FixedClock) -> None:
    done, waiting = in_status(store, S.COMPLETED), in_status(store, S.QUEUED)
    clock.advance(timedelta(days=31))
    pruning = StoreUpkeep(store).prune_rounds(Retention.parse([]))
    assert pruning.run(10).tasks == 1
    left = [task.id for task in store.tasks.page(Filter(), EVERYONE, limit=10)]
    assert left == [waiting]
    assert store.tasks.history(done, EVERYONE) == []


def test_text_that_no_database_takes_is_made_fit(store: Store) -> None:
    odd = "N\x00UL and half \ud83d"
    first = published(type=odd, queue=odd)
    run = begun(first, worker=odd)
    store.adopted.see([first, run, ended(run, S.FAILED, error=TaskError(odd, odd, odd))])
    found: TaskEntity = store.tasks.get(first.id, EVERYONE)
    assert found.status is S.FAILED
    assert "\x00" not in json.dumps([found.type, found.queue, found.worker])


def test_many_are_seen_in_batches(store: Store) -> None:
    many = [published() for _ in range(1_200)]
    assert store.adopted.see(many) == 2_400
    assert len(write(store, "SELECT 1 AS one FROM taskdb_task WHERE is_adopted")) == 1_200
