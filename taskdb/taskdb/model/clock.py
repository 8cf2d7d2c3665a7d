"""The clock of the store: that of the database by default, a bound value in tests.

Nothing else in this package reads the time that a row is compared with. So the clocks of different
machines do not matter, and a test can stop time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from taskdb.model.bounds import EARLIEST, LATEST, is_bounded


class Clock(Protocol):
    """The source of `now` in a statement."""

    def bound(self) -> datetime | None:
        """Return the moment to bind into every statement, or None for the database's clock."""


class DatabaseClock:
    """The clock of the database, one clock for every process (the default)."""

    def bound(self) -> datetime | None:
        return None


class FixedClock:
    """A clock that moves only by `advance`, for tests."""

    def __init__(self, at: datetime) -> None:
        self.at = require_aware(at, "at")

    def bound(self) -> datetime | None:
        return self.at

    def advance(self, by: timedelta) -> None:
        """Move by a duration, backwards if it is negative. Raises ValueError out of bounds."""
        try:
            moved = self.at + by
        except OverflowError:
            moved = datetime.max.replace(tzinfo=UTC)
        self.at = require_aware(moved, "at")


def require_aware(moment: datetime, name: str) -> datetime:
    """Return the same moment in UTC.

    Raises ValueError for a naive datetime, since its zone is unknown, and for a moment out of
    bounds.
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(
            f"{name} is a naive datetime ({moment.isoformat()}): add a zone, "
            "for example datetime.now(UTC)"
        )
    # Compared before the conversion: a moment at either end does not exist in another zone.
    if not is_bounded(moment):
        raise ValueError(
            f"{name} is out of bounds ({moment.isoformat()}): pass a moment from "
            f"{EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}, or leave it out to mean never"
        )
    return moment.astimezone(UTC)
