"""The current runs of this process, each with a token that distinguishes it from others."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a body, as its process knows it."""

    token: str
    began_at: datetime
    attempt: int


class Runs:
    """The current runs. They are not stored on the requests, which belong to the app.

    An eager retry runs inside the run that asked for it, hence a stack for each task and thread.
    """

    def __init__(self) -> None:
        self._going: dict[tuple[int, str], list[Run]] = {}

    def begin(self, task_id: str, attempt: int, at: datetime) -> Run:
        """Record that a run begins in this thread."""
        run = Run(uuid4().hex, at, attempt)
        self._going.setdefault(_place(task_id), []).append(run)
        return run

    def find(self, task_id: str) -> Run | None:
        """Return the innermost run of a task in this thread, or None."""
        going = self._going.get(_place(task_id))
        return going[-1] if going else None

    def end(self, task_id: str) -> Run | None:
        """Remove the innermost run of a task in this thread. Returns it, or None."""
        place = _place(task_id)
        going = self._going.get(place)
        if not going:
            return None
        run = going.pop()
        if not going:
            del self._going[place]
        return run


def _place(task_id: str) -> tuple[int, str]:
    return threading.get_ident(), task_id
