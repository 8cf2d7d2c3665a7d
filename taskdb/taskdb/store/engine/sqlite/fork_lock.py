"""Separates forks from transactions on a SQLite file.

SQLite keeps its file locks in a table of the process. A child that is forked during another
thread's transaction inherits that table, finds the file locked by itself, and stays locked out
until it ends. So a fork waits until the transactions of this process end, and closes their
connections. The next use opens new ones, in the parent and in the child.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taskdb.fork import pause_at_fork

PATIENCE_SECONDS = 10.0
"""How long a fork waits for transactions; a longer one may lock the child out."""


class ForkLock:
    """Delays transactions during a fork, and a fork during transactions.

    `close` closes the connections of this process.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self.after_fork()
        pause_at_fork(self)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Surround a transaction; the same thread may enter again."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not self._forks or self._inside[me] > 0)
            self._inside[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                if self._inside[me] <= 0:
                    del self._inside[me]
                self._changed.notify_all()

    def before_fork(self) -> None:
        """Keep new transactions out, and wait for those of other threads."""
        me = threading.get_ident()
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._changed:
            self._forks += 1
            while set(self._inside) - {me} and time.monotonic() < deadline:
                self._changed.wait(deadline - time.monotonic())
            if not self._inside:
                self._close()

    def after_fork_in_parent(self) -> None:
        """Let transactions in again."""
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def after_fork(self) -> None:
        """Reset in the child: none of the parent's threads runs here."""
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._forks = 0
