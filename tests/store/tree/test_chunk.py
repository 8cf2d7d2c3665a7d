"""A chunk: items that share one message, claimed together, and each with an end of its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from uuid_utils import uuid7

from taskdb.model.entity import TaskEntity
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE, Claim, Draft
from taskdb.store.payload.payload import Payload
from taskdb.store.store import Store
from taskdb.store.task.worker import WorkerRecord
from tests.cases import each
from tests.store.tasks import (
    DONE,
    HOUR,
    OOPS,
    SOON,
    TOKEN,
    at_once,
    draft,
    make_late,
    moves,
    row,
    stray,
)

S = TaskStatus
NOBODY = "01936e4b-7c00-7000-8000-0123456789ab"


@dataclass(frozen=True)
class Chunk:
    """A fan-out whose parts are one chunk."""

    id: str
    parent: str
    items: list[str]


@pytest.fixture
def chunk(store: Store) -> Chunk:
    return chunk_of(store, 4)


def chunk_of(store: Store, size: int, *, queued: bool = True) -> Chunk:
    parent = draft(input=None)
    parts: Iterable[Draft] = (draft(id=str(uuid7()), input={"n": n}) for n in range(size))
    spec = FanOutSpec(part_type="sum", chunk_size=size)
    store.submissions.create_fan_out(parent, parts, spec, EVERYONE)
    published = store.publications.page_of_parts(parent.id, "", size)
    (chunk_id,) = {one.chunk for one in published if one.chunk}
    if queued:
        store.publications.mark_queued(published)
    return Chunk(chunk_id, parent.id, [one.id for one in published])


def claim(store: Store, chunk: Chunk, token: str = TOKEN, count: int = 100) -> list[Claim]:
    given = {"token": token, "worker": "w-1", "max_attempts": 3, "count": count}
    return store.runs.claim_chunk(chunk.id, **given)


def tasks(store: Store, chunk: Chunk) -> list[TaskEntity]:
    return [store.tasks.get(task_id, EVERYONE) for task_id in chunk.items]


def statuses(store: Store, chunk: Chunk) -> list[TaskStatus]:
    return [task.status for task in tasks(store, chunk)]


def chunks(store: Store, chunk: Chunk) -> list[bool]:
    """Which of the items still share a message."""
    return [row(store, task_id)["chunk"] is not None for task_id in chunk.items]


# --- claims ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("queued", [False, True])
def test_one_claim_takes_every_item_in_order(store: Store, *, queued: bool) -> None:
    chunk = chunk_of(store, 4, queued=queued)
    granted = claim(store, chunk)
    assert [one.id for one in granted] == chunk.items
    assert [one.position for one in granted] == [0, 1, 2, 3]
    assert [one.input for one in granted] == [{"n": n} for n in range(4)]
    assert {(one.attempt, one.parent_id, one.granted) for one in granted} == {
        (1, chunk.parent, True)
    }
    assert {(t.status, t.attempt, t.worker) for t in tasks(store, chunk)} == {(S.STARTED, 1, "w-1")}


def test_a_duplicate_gets_nothing_and_a_repeated_claim_gets_its_own(
    store: Store, chunk: Chunk
) -> None:
    claim(store, chunk)
    assert claim(store, chunk, "another") == []
    assert [one.id for one in claim(store, chunk)] == chunk.items
    store.outcomes.complete(chunk.items[0], TOKEN, DONE)
    assert [one.id for one in claim(store, chunk)] == chunk.items[1:]
    assert [task.attempt for task in tasks(store, chunk)] == [1, 1, 1, 1]
    assert all(moves(store, task_id).count(("QUEUED", "STARTED")) == 1 for task_id in chunk.items)


def test_two_messages_of_one_chunk_share_its_items(store: Store) -> None:
    chunk = chunk_of(store, 20)
    both = at_once(lambda number: claim(store, chunk, f"token-{number}", 10), 2)
    assert [len(one) for one in both] == [10, 10]
    assert {one.id for part in both for one in part} == set(chunk.items)
    assert claim(store, chunk, "third") == []


@each("chunk_id", [NOBODY, "not-an-id", ""])
def test_no_item_is_claimed_or_ends_where_there_is_no_chunk(store: Store, chunk_id: str) -> None:
    nothing = Chunk(chunk_id, "", [])
    assert claim(store, nothing) == []
    assert store.outcomes.crash_chunk(chunk_id, TOKEN, OOPS) == 0
    assert not store.take_backs.expire(chunk_id, OOPS)
    assert not store.take_backs.hand_back_unclaimed(chunk_id, "lost", SOON)


# --- results --------------------------------------------------------------------------------------


def test_results_are_written_together_each_to_its_item(store: Store, chunk: Chunk) -> None:
    claim(store, chunk)
    results = {task_id: Payload(n, str(n)) for n, task_id in enumerate(chunk.items[:2])}
    results[chunk.items[2]] = Payload(None, None, "2026-01-01/somewhere.json")
    assert store.outcomes.complete_many(TOKEN, results) == set(chunk.items[:3])
    assert store.outcomes.complete_many(TOKEN, results) == set(chunk.items[:3])
    done = tasks(store, chunk)
    assert [task.status for task in done] == [S.COMPLETED] * 3 + [S.STARTED]
    assert [task.inline_result for task in done[:2]] == [0, 1]
    assert done[2].result_ref == "2026-01-01/somewhere.json"
    assert all(task.ended_at is not None for task in done[:3])
    assert moves(store, chunk.items[0]).count(("STARTED", "COMPLETED")) == 1


def test_a_result_is_refused_from_who_has_not_the_item(store: Store, chunk: Chunk) -> None:
    claim(store, chunk)
    first, second, third, fourth = chunk.items
    assert store.outcomes.complete_many("another", dict.fromkeys(chunk.items, DONE)) == set()
    store.outcomes.fail(first, TOKEN, OOPS)
    store.outcomes.error(second, TOKEN, OOPS, HOUR)
    assert store.outcomes.complete_many(TOKEN, dict.fromkeys(chunk.items, DONE)) == {third, fourth}
    assert statuses(store, chunk) == [S.FAILED, S.ERRORED, S.COMPLETED, S.COMPLETED]


def test_who_asks_hears_which_items_need_not_begin(store: Store, chunk: Chunk) -> None:
    claim(store, chunk)
    store.interventions.cancel(chunk.items[1], EVERYONE)
    store.outcomes.hand_back(chunk.items[2], TOKEN, "shutdown")
    assert store.runs.cancel_wanted_among(chunk.items, TOKEN) == set(chunk.items[1:3])
    assert store.runs.cancel_wanted_among(chunk.items, "another") == set(chunk.items)


# --- an item that goes on -------------------------------------------------------------------------


def test_an_item_that_goes_on_goes_on_alone(store: Store, chunk: Chunk) -> None:
    claim(store, chunk)
    first, second, third, fourth = chunk.items
    store.outcomes.error(first, TOKEN, OOPS, SOON)
    store.outcomes.snooze(second, TOKEN, SOON)
    store.outcomes.hand_back(third, TOKEN, "rejected for requeue")
    store.outcomes.crash(fourth, TOKEN, OOPS, delay=SOON, max_crashes=3)
    assert statuses(store, chunk) == [S.ERRORED, S.SCHEDULED, S.CREATED, S.ERRORED]
    assert not any(chunks(store, chunk))
    assert [(t.spared, t.crashes) for t in tasks(store, chunk)] == [(0, 0), (1, 0), (1, 0), (0, 1)]
    # Its old message finds nothing any more.
    assert claim(store, chunk, "late") == []


# --- deaths ---------------------------------------------------------------------------------------


def test_a_death_spares_every_item_that_was_not_over(store: Store, chunk: Chunk) -> None:
    claim(store, chunk)
    store.outcomes.complete_many(TOKEN, {chunk.items[0]: DONE})
    store.interventions.cancel(chunk.items[3], EVERYONE)
    assert store.outcomes.crash_chunk(chunk.id, "another", OOPS) == 0
    assert store.outcomes.crash_chunk(chunk.id, TOKEN, OOPS) == 3
    assert store.outcomes.crash_chunk(chunk.id, TOKEN, OOPS) == 0
    assert statuses(store, chunk) == [S.COMPLETED, S.CREATED, S.CREATED, S.CANCELED]
    assert chunks(store, chunk) == [True, False, False, False]
    assert [t.attempts_used for t in tasks(store, chunk)[1:3]] == [0, 0]
    assert [t.crashes for t in tasks(store, chunk)] == [0, 0, 0, 0]
    # Each alone, at once, and the dead run has no say in it.
    alone = [one for one in store.publications.lease_due(10, HOUR) if one.id in chunk.items]
    assert [(one.id, one.chunk) for one in alone] == [(one, None) for one in chunk.items[1:3]]
    assert store.outcomes.complete_many(TOKEN, dict.fromkeys(chunk.items[1:], DONE)) == set()
    assert store.runs.claim(chunk.items[1], token="new", worker="w", max_attempts=3).attempt == 2


def test_the_items_of_a_dead_worker_go_on_alone(store: Store, chunk: Chunk) -> None:
    claim(store, chunk)
    store.outcomes.complete_many(TOKEN, {chunk.items[0]: DONE})
    workers = store.workers
    workers.announce(WorkerRecord("w-1", "w", "host", 1))
    assert rescue(store) == {}
    workers.stopped("w-1")
    assert rescue(store) == dict.fromkeys(chunk.items[1:], S.CREATED)
    assert chunks(store, chunk) == [True, False, False, False]
    assert {(t.attempts_used, t.crashes) for t in tasks(store, chunk)[1:]} == {(0, 0)}
    assert store.outcomes.complete_many(TOKEN, dict.fromkeys(chunk.items[1:], DONE)) == set()


def rescue(store: Store) -> dict[str, TaskStatus]:
    return store.take_backs.rescue(OOPS, lease=timedelta(seconds=30), limit=10, max_crashes=3)


def test_a_worker_that_stops_gives_its_items_back_alone(store: Store, chunk: Chunk) -> None:
    claim(store, chunk)
    assert store.endings.hand_back_worker("w-1", "shut down") == 4
    assert set(statuses(store, chunk)) == {S.CREATED}
    assert not any(chunks(store, chunk))


def test_a_message_that_was_lost_before_the_claim_comes_again_for_all(
    store: Store, chunk: Chunk
) -> None:
    assert store.take_backs.hand_back_unclaimed(chunk.id, "lost", SOON)
    assert set(statuses(store, chunk)) == {S.CREATED}
    assert {one.chunk for one in store.publications.lease_due(10, HOUR)} == {chunk.id}


def test_nobody_knows_the_type_of_a_chunk_until_it_is_enough(store: Store, chunk: Chunk) -> None:
    for expected in (S.CREATED, S.CREATED, S.FAILED):
        assert stray(store, chunk.id, delay=SOON, limit=3) is expected
    assert set(statuses(store, chunk)) == {S.FAILED}


def test_a_message_of_another_type_claims_no_items(store: Store, chunk: Chunk) -> None:
    given: dict[str, Any] = {"token": TOKEN, "worker": "w", "max_attempts": 3, "count": 9}
    assert store.runs.claim_chunk(chunk.id, type="admin.exec", **given) == []
    assert store.runs.claim_chunk(chunk.id, type="sum", attempt=1, **given) == []
    assert not store.take_backs.hand_back_unclaimed(chunk.id, "lost", SOON, type="admin.exec")
    assert stray(store, chunk.id, delay=SOON, limit=1, type="admin.exec") is None
    assert set(statuses(store, chunk)) == {S.QUEUED}
    assert len(store.runs.claim_chunk(chunk.id, type="sum", attempt=0, **given)) == 4


def test_an_expired_chunk_fails_what_waits(store: Store, chunk: Chunk) -> None:
    store.runs.claim(chunk.items[0], token=TOKEN, worker="w-1", max_attempts=3)
    assert not store.take_backs.expire(chunk.id, OOPS)
    make_late(store, chunk.id)
    assert store.take_backs.expire(chunk.id, OOPS)
    assert statuses(store, chunk) == [S.STARTED] + [S.FAILED] * 3
    assert not store.take_backs.expire(chunk.id, OOPS)


def test_an_item_may_be_claimed_by_its_own_id(store: Store, chunk: Chunk) -> None:
    assert store.runs.claim(chunk.items[2], token="by-hand", worker="w", max_attempts=3).granted
    assert [one.id for one in claim(store, chunk)] == [chunk.items[n] for n in (0, 1, 3)]
    assert store.outcomes.complete(chunk.items[2], "by-hand", DONE) is S.COMPLETED


def test_the_last_item_of_a_chunk_ends_its_parent(store: Store, chunk: Chunk) -> None:
    claim(store, chunk)
    store.outcomes.complete_many(TOKEN, dict.fromkeys(chunk.items[:3], DONE))
    assert store.joins.part_ended(chunk.parent, badly=False).open == 1
    store.outcomes.complete_many(TOKEN, {chunk.items[3]: DONE})
    assert store.joins.part_ended(chunk.parent, badly=False).open == 0
    store.joins.join(chunk.parent)
    assert store.tasks.get(chunk.parent, EVERYONE).status is S.COMPLETED
