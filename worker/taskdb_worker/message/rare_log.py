"""How often something happened that is worth a log line only once in a while."""

from __future__ import annotations

import time
from collections import Counter

PAUSE_SECONDS = 60.0
"""Between two lines about one subject."""


class Seldom:
    """Counts what happens by its subject, and says when a line about it is due."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._count: Counter[str] = Counter()

    def count(self, subject: str) -> int:
        """Count once more; how often it happened since the last line, or 0 if none is due."""
        self._count[subject] += 1
        now = time.monotonic()
        if now < self._next.get(subject, now):
            return 0
        self._next[subject] = now + PAUSE_SECONDS
        return self._count.pop(subject)
