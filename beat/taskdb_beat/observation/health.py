"""Whether this process is alive: its loops succeed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from taskdb_beat.loops.loop import Loop

LONG_SECONDS = 300.0
"""A loop without a success for this long, plus twice its interval, stands still."""


class Health:
    """Checks the loops, which record the result of each pass."""

    def __init__(self, loops: Sequence[Loop], is_site_up: Callable[[], bool]) -> None:
        """`is_site_up`: whether database and broker were reachable at the last check."""
        self._loops = loops
        self._is_site_up = is_site_up
        self._began = time.monotonic()

    def stalled(self) -> list[str]:
        """Return a text for each loop that stands still.

        A loop that fails while database or broker is not reachable does not count: another process
        would fail too. Once both are reachable, it does.
        """
        return [line for loop in self._loops if (line := self._wrong_with(loop)) is not None]

    def success_age_seconds(self, loop: Loop) -> float:
        """Return the seconds since the last success of a loop, or since this process began."""
        last = loop.health.last_success_at
        return time.monotonic() - (self._began if last is None else last)

    def _wrong_with(self, loop: Loop) -> str | None:
        age = self.success_age_seconds(loop)
        if age <= LONG_SECONDS + 2 * loop.interval_seconds:
            return None
        if loop.health.is_site_away and not self._is_site_up():
            return None
        errors = loop.health.errors_in_row
        how = f"{errors} passes failed in a row" if errors else "its pass does not end"
        return f"loop {loop.name} has not succeeded for {age:.0f} s: {how}"
