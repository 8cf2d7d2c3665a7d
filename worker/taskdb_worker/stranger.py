"""Messages of task types that no submit has published: a plain Celery client called the type."""

from __future__ import annotations

import time
from collections import Counter

import structlog

log = structlog.get_logger("taskdb.run")

PAUSE_SECONDS = 60.0
"""Between two warnings about one type."""


class Strangers:
    """Warns of them, once a type in a while; the next warning counts those in between."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._count: Counter[str] = Counter()

    def warn(self, type_name: str, task_id: str) -> None:
        """A message of this type has no row, so its body does not run."""
        self._count[type_name] += 1
        now = time.monotonic()
        if now < self._next.get(type_name, now):
            return
        self._next[type_name] = now + PAUSE_SECONDS
        log.warning(
            "message.not_submitted",
            type=type_name,
            task_id=task_id,
            count=self._count.pop(type_name),
            advice="a Celery client called the type by delay, apply_async or send_task, and waits "
            "for a task that does not exist; call submit_task there, or `taskdb create`",
        )
