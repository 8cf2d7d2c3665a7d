"""Whether this process lives: its loops turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from taskdb_beat.loops.loop import Loop

LONG_SECONDS = 300.0
"""A loop that has not succeeded for this long, and twice its interval, does not turn."""


class Health:
    """Looks at the loops, which note how each of their passes went."""

    def __init__(self, loops: Sequence[Loop], is_site_up: Callable[[], bool]) -> None:
        """`is_site_up`: whether database and broker answer, as far as one knows now."""
        self._loops = loops
        self._is_site_up = is_site_up
        self._began = time.monotonic()

    def standing(self) -> list[str]:
        """A line for each loop that does not turn.

        One whose passes end because database or broker is away does turn: another process would
        fare no better. Once both answer, and it still fails, it does not.
        """
        return [line for loop in self._loops if (line := self._wrong_with(loop)) is not None]

    def success_age_seconds(self, loop: Loop) -> float:
        """How long ago a pass of it succeeded; before the first, since this process began."""
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
