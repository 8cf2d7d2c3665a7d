"""The clock: whose time counts."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from taskdb.model.clock import DatabaseClock, FixedClock, require_aware

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_the_database_says_the_time_by_default() -> None:
    assert DatabaseClock().bound() is None


def test_a_fixed_clock_moves_when_told_to_also_backwards() -> None:
    clock = FixedClock(NOON)
    clock.advance(timedelta(hours=2))
    clock.advance(-timedelta(hours=3))
    assert clock.bound() == NOON - timedelta(hours=1)


def test_a_moment_of_any_zone_becomes_utc() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=-7)))
    assert require_aware(elsewhere, "run_at") == NOON
    assert require_aware(elsewhere, "run_at").tzinfo is UTC


def test_a_naive_moment_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="run_at is a naive datetime"):
        require_aware(NOON.replace(tzinfo=None), "run_at")
