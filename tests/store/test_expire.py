"""Deadlines: what waits past its own is FAILED, wherever it waits."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from taskdb.clock import FixedClock
from taskdb.fan_out import FanOutSpec
from taskdb.status import TaskStatus as S
from taskdb.store.store import Store
from taskdb_beat.expire import Expire
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
    store.mark_queued([publication(store, queued)])
    later = create(store, deadline_at=NOW + 9 * SOON, delay=timedelta(hours=1))
    running = create(store, deadline_at=NOW + SOON)
    assert store.claim(running, token="t", worker="w", max_attempts=1).granted
    endless = create(store)
    assert store.expire_due(OOPS, 10) == {}
    clock.advance(2 * SOON)
    first = store.expire_due(OOPS, 1)
    assert len(first) == 1 and first.keys() <= {created, queued}
    assert Expire(store).run_once() is False
    assert {store.get(one).status for one in (created, queued)} == {S.FAILED}
    assert {store.get(one).status for one in (later, running, endless)} == {
        S.SCHEDULED,
        S.STARTED,
        S.CREATED,
    }
    clock.advance(9 * SOON)
    assert store.expire_due(OOPS, 10).keys() == {later}
    [second] = {created, queued} - first.keys()
    error = store.get(second).error
    assert error is not None and error.type == "TaskExpired"


def test_a_parent_hears_of_a_part_that_was_too_late(store: Store, clock: FixedClock) -> None:
    parts = [draft(deadline_at=NOW + SOON) for _ in range(2)]
    spec = FanOutSpec(part_type="sum", join="all_settled")
    parent = store.create_fan_out(draft(), parts, spec).created.id
    clock.advance(2 * SOON)
    Expire(store).run_once()
    assert store.get(parent).status is S.COMPLETED
    assert store.counts(parent).failed == 2


def test_the_timeout_of_a_parent_is_no_deadline_to_begin_by(
    store: Store, clock: FixedClock
) -> None:
    spec = FanOutSpec(part_type="sum", timeout=10.0)
    parent = store.create_fan_out(draft(), [draft()], spec).created.id
    clock.advance(2 * SOON)
    assert store.expire_due(OOPS, 10) == {}
    assert store.get(parent).status is S.PROCESSING
