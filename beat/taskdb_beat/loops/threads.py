"""Some threads, and how many of them are free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Lane:
    """Runs what it is given in so many threads; what is more waits for one of them."""

    def __init__(self, name: str, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"taskdb-{name}")
        self._count = 0
        self._change = threading.Condition()

    @property
    def room(self) -> int:
        """Threads that have nothing to do."""
        with self._change:
            return max(self._threads - self._count, 0)

    def submit(self, work: Callable[..., None], *arguments: Any) -> None:
        """Run it when its turn has come. It must not raise."""
        with self._change:
            self._count += 1
        self._pool.submit(self._run, work, *arguments)

    def join(self, seconds: float) -> bool:
        """Wait until there is nothing left to do; False if that takes longer."""
        with self._change:
            return self._change.wait_for(lambda: self._count == 0, seconds)

    def close(self) -> None:
        """Begin nothing more, and wait for what runs."""
        self._pool.shutdown(cancel_futures=True)

    def _run(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        finally:
            with self._change:
                self._count -= 1
                self._change.notify_all()
