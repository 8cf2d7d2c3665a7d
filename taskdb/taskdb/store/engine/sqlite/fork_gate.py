"""Keeps transactions on a SQLite file and forks apart.

SQLite keeps its file locks in a table of the process. A child that is forked in the middle of
another thread's transaction inherits that table, finds the file locked by itself, and stays
locked out for as long as it lives. So a fork waits for the transactions of this process to end,
and closes their connections; the next use opens new ones, in the parent and in the child.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taskdb.fork import pause_at_fork

PATIENCE_SECONDS = 10.0
"""A fork waits so long for a transaction; longer ones risk a child that is locked out."""


class ForkGate:
    """Lets transactions in while nobody forks, and a fork through while none is inside.

    `close` closes the connections of this process.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self.after_fork()
        pause_at_fork(self)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """For the time of a transaction; may be entered again by the same thread."""
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
        """In the child: nobody is inside, whatever the parent's threads were doing."""
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._forks = 0
