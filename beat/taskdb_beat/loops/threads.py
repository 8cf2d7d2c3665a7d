"""A group of threads, and how many of them are free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Lane:
    """Runs work in a fixed number of threads. Further work waits for one of them."""

    def __init__(self, name: str, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"taskdb-{name}")
        self._count = 0
        self._change = threading.Condition()

    @property
    def room(self) -> int:
        """The number of idle threads."""
        with self._change:
            return max(self._threads - self._count, 0)

    def submit(self, work: Callable[..., None], *arguments: Any) -> None:
        """Run the work as soon as a thread is free. It must not raise."""
        with self._change:
            self._count += 1
        self._pool.submit(self._run, work, *arguments)

    def join(self, seconds: float) -> bool:
        """Wait until no work is left. Returns False if that takes longer."""
        with self._change:
            return self._change.wait_for(lambda: self._count == 0, seconds)

    def close(self) -> None:
        """Begin no further work, and wait for the running work."""
        self._pool.shutdown(cancel_futures=True)

    def _run(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        finally:
            with self._change:
                self._count -= 1
                self._change.notify_all()
