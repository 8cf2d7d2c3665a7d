"""Whose time counts: the database's by default, a bound value in tests.

Nothing else in this package asks for the time that a row is compared with, so clocks of
different machines cannot disagree, and a test can hold time still.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from taskdb.model.bounds import EARLIEST, LATEST, is_bounded


class Clock(Protocol):
    """Where a statement takes `now` from."""

    def bound(self) -> datetime | None:
        """The moment to bind into every statement, or None to let the database say it."""


class DatabaseClock:
    """The database's own clock: one clock for every process (the default)."""

    def bound(self) -> datetime | None:
        return None


class FixedClock:
    """A clock that moves only when told to, for tests."""

    def __init__(self, at: datetime) -> None:
        self.at = require_aware(at, "at")

    def bound(self) -> datetime | None:
        return self.at

    def advance(self, by: timedelta) -> None:
        """Move by a duration; a negative one steps back. Raises ValueError out of bounds."""
        try:
            moved = self.at + by
        except OverflowError:
            moved = datetime.max.replace(tzinfo=UTC)
        self.at = require_aware(moved, "at")


def require_aware(moment: datetime, name: str) -> datetime:
    """The same moment in UTC.

    Raises ValueError for a naive datetime, since its zone is unknown, and for one
    that is out of bounds.
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        message = (
            f"{name} is a naive datetime ({moment.isoformat()}): give it a zone, "
            "for example datetime.now(UTC)"
        )
        raise ValueError(message)
    # Compared before it is converted: a moment at either end has no spelling in another zone.
    if not is_bounded(moment):
        message = (
            f"{name} is out of bounds ({moment.isoformat()}): give a moment from "
            f"{EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}, or leave it out to mean never"
        )
        raise ValueError(message)
    return moment.astimezone(UTC)
