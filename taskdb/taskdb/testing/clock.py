"""The clock of a rehearsal: it stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from taskdb.model.bounds import as_duration
from taskdb.model.clock import FixedClock


class RehearsalClock(FixedClock):
    """A FixedClock that calls `before_tick` before it moves."""

    before_tick: Callable[[], None] = staticmethod(lambda: None)

    def tick(self, by: timedelta | float) -> datetime:
        """Advance by a duration (timedelta or seconds); returns the new time.

        Nothing runs by itself: `drain()` then runs the tasks that have become due. Declared
        schedules (of code and settings) start at the time before the first tick.
        """
        length = by if isinstance(by, timedelta) and by < timedelta(0) else as_duration(by, "by")
        self.before_tick()
        self.advance(length)
        return self.at
