"""Deadlines: what waits past its own is FAILED, wherever it waits."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from taskdb.model.clock import FixedClock
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.status import TaskStatus as S
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from taskdb_beat.loops.expire import Expire
from tests.cases import each
from tests.store.tasks import OOPS, create, draft, publication

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOON = timedelta(seconds=10)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def store(store_url: str, clock: FixedClock) -> Iterator[Store]:
    with Store(store_url, clock=clock).closing() as opened:
        yield opened


def test_what_waits_past_its_deadline_is_failed_once(store: Store, clock: FixedClock) -> None:
    created = create(store, deadline_at=NOW + SOON)
    queued = create(store, deadline_at=NOW + SOON)
    store.publications.mark_queued([publication(store, queued)])
    later = create(store, deadline_at=NOW + 9 * SOON, delay=timedelta(hours=1))
    running = create(store, deadline_at=NOW + SOON)
    assert store.runs.claim(running, token="t", worker="w", max_attempts=1).granted
    endless = create(store)
    assert store.take_backs.expire_due(OOPS, 10) == {}
    clock.advance(2 * SOON)
    first = store.take_backs.expire_due(OOPS, 1)
    assert len(first) == 1 and first.keys() <= {created, queued}
    assert Expire(store).run_once() is False
    assert {store.tasks.get(one, EVERYONE).status for one in (created, queued)} == {S.FAILED}
    assert {store.tasks.get(one, EVERYONE).status for one in (later, running, endless)} == {
        S.SCHEDULED,
        S.STARTED,
        S.CREATED,
    }
    clock.advance(9 * SOON)
    assert store.take_backs.expire_due(OOPS, 10).keys() == {later}
    [second] = {created, queued} - first.keys()
    error = store.tasks.get(second, EVERYONE).error
    assert error is not None and error.type == "TaskExpired"


def test_a_parent_hears_of_a_part_that_was_too_late(store: Store, clock: FixedClock) -> None:
    parts = [draft(deadline_at=NOW + SOON) for _ in range(2)]
    spec = FanOutSpec(part_type="sum", join="all_settled")
    parent = store.submissions.create_fan_out(draft(), parts, spec, EVERYONE).created.id
    clock.advance(2 * SOON)
    Expire(store).run_once()
    assert store.tasks.get(parent, EVERYONE).status is S.COMPLETED
    assert store.fan_outs.counts(parent, EVERYONE).failed == 2


def test_the_timeout_of_a_parent_is_no_deadline_to_begin_by(
    store: Store, clock: FixedClock
) -> None:
    spec = FanOutSpec(part_type="sum", timeout=10.0)
    parent = store.submissions.create_fan_out(draft(), [draft()], spec, EVERYONE).created.id
    clock.advance(2 * SOON)
    assert store.take_backs.expire_due(OOPS, 10) == {}
    assert store.tasks.get(parent, EVERYONE).status is S.PROCESSING


@each("how", ["errored", "handed back", "crashed", "snoozed"], alone=True)
def test_a_deadline_does_not_bind_what_has_started_in_time(
    store: Store, clock: FixedClock, how: str
) -> None:
    task_id = create(store, deadline_at=clock.at + SOON)
    assert store.runs.claim(task_id, token="t", worker="w", max_attempts=3).granted
    at_once = timedelta(0)
    {
        "errored": lambda: store.outcomes.error(task_id, "t", OOPS, at_once),
        "handed back": lambda: store.outcomes.hand_back(task_id, "t", "shutdown"),
        "crashed": lambda: store.outcomes.crash(task_id, "t", OOPS, delay=at_once, max_crashes=3),
        "snoozed": lambda: store.outcomes.snooze(task_id, "t", at_once),
    }[how]()
    clock.advance(2 * SOON)
    assert store.take_backs.expire_due(OOPS, 10) == {}
    assert not store.take_backs.expire(task_id, OOPS)
    assert store.runs.claim(task_id, token="t2", worker="w", max_attempts=3).granted


def test_what_comes_too_late_is_not_claimed(store: Store, clock: FixedClock) -> None:
    task_id = create(store, deadline_at=NOW + SOON)
    clock.advance(SOON)
    answer = store.runs.claim(task_id, token="t", worker="w", max_attempts=3)
    assert (answer.granted, answer.status) == (False, S.CREATED)
    assert store.take_backs.expire(task_id, OOPS)


def test_a_message_expires_nothing_that_the_row_does_not(store: Store, clock: FixedClock) -> None:
    endless, later = create(store), create(store, deadline_at=NOW + 9 * SOON)
    clock.advance(2 * SOON)
    for task_id in (endless, later):
        assert not store.take_backs.expire(task_id, OOPS)
        assert store.tasks.get(task_id, EVERYONE).status is S.CREATED


def test_what_has_expired_can_be_retried_by_hand(store: Store, clock: FixedClock) -> None:
    task_id = create(store, deadline_at=NOW + SOON)
    clock.advance(2 * SOON)
    assert store.take_backs.expire_due(OOPS, 10).keys() == {task_id}
    store.interventions.retry(task_id, EVERYONE)
    assert store.take_backs.expire_due(OOPS, 10) == {}
    assert store.runs.claim(task_id, token="t", worker="w", max_attempts=3).granted


@pytest.mark.parametrize("has_run", [False, True])
def test_a_resubmit_has_a_deadline_of_its_own(
    store: Store, clock: FixedClock, *, has_run: bool
) -> None:
    task_id = create(store, deadline_at=NOW + SOON, unique_key="k")
    if has_run:
        store.runs.claim(task_id, token="t", worker="w", max_attempts=3)
        store.outcomes.fail(task_id, "t", OOPS)
    clock.advance(2 * SOON)
    Expire(store).run_once()
    assert create(store, deadline_at=NOW + 4 * SOON, unique_key="k") == task_id
    assert store.take_backs.expire_due(OOPS, 10) == {}
    clock.advance(2 * SOON)
    assert not store.runs.claim(task_id, token="t2", worker="w", max_attempts=3).granted
    assert store.take_backs.expire_due(OOPS, 10).keys() == {task_id}
