"""A count of repeated events, so that each subject is logged only once in a while."""

from __future__ import annotations

import time
from collections import Counter

PAUSE_SECONDS = 60.0
"""The time between two log lines about one subject."""


class RareLog:
    """Counts events by subject and decides when a log line is due."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._count: Counter[str] = Counter()

    def count(self, subject: str) -> int:
        """Count one event. Returns the number since the last log line, or 0 if no line is due."""
        self._count[subject] += 1
        now = time.monotonic()
        if now < self._next.get(subject, now):
            return 0
        self._next[subject] = now + PAUSE_SECONDS
        return self._count.pop(subject)
