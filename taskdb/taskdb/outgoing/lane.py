"""A group of threads, and how many of them are free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Lane:
    """Runs at most `threads` works at once. Its threads do not delay the exit of the process."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._threads = threads
        self._count = 0
        self._change = threading.Condition()

    @property
    def room(self) -> int:
        """The number of works that may begin now."""
        with self._change:
            return self._threads - self._count

    def start(self, work: Callable[..., None], *arguments: Any) -> bool:
        """Begin the work, which must not raise. Returns False if there is no room."""
        with self._change:
            if self._count == self._threads:
                return False
            self._count += 1
        name = f"taskdb-{self._name}"
        threading.Thread(target=self._run, args=[work, *arguments], name=name, daemon=True).start()
        return True

    def join(self, seconds: float | None = None) -> bool:
        """Wait until no work is left. Returns False if that takes longer."""
        with self._change:
            return self._change.wait_for(lambda: self._count == 0, seconds)

    def _run(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        finally:
            with self._change:
                self._count -= 1
                self._change.notify_all()
