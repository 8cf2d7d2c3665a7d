"""What belongs to one process is made anew in a child that was forked from it.

Connections, threads and locks of the parent mean nothing in the child: a socket used by both
mixes their words, and a lock that another thread held at the fork is never released.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet

from taskdb.fork_imports import ImportGate


class ForkedObject(Protocol):
    """Something that a fork would break."""

    def after_fork(self) -> None:
        """Begin anew, in the child, before anything else runs there."""


class PausedObject(ForkedObject, Protocol):
    """Something that must be at rest while a fork happens."""

    def before_fork(self) -> None:
        """Come to rest."""

    def after_fork_in_parent(self) -> None:
        """Go on."""


def renew_after_fork(forked: ForkedObject) -> None:
    """Call its `after_fork` in every child forked from here on, for as long as it lives."""
    _forks.renew(forked)


def pause_at_fork(paused: PausedObject) -> None:
    """Have it at rest during every fork from here on, for as long as it lives."""
    _forks.pause(paused)


class RenewedLock:
    """A lock that a forked child has anew: its holder at the fork does not exist in the child.

    For locks of modules and of objects that a child goes on using. The thread that forks inside the
    block leaves it in the child as in the parent.
    """

    def __init__(self) -> None:
        self._lock = self._held = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew; a block that the child is in still ends with the lock that it began with."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        lock = self._lock
        lock.acquire()
        self._held = lock

    def __exit__(self, *_: object) -> None:
        self._held.release()


class _Forks:
    """Knows what a fork would break, and sees to it around each fork of this process."""

    def __init__(self) -> None:
        # Held during a fork: no other fork, and nobody new who would be at work meanwhile.
        self._lock = threading.RLock()
        self._objects: WeakSet[ForkedObject] = WeakSet()
        self._paused: WeakSet[PausedObject] = WeakSet()
        self._resting: list[PausedObject] = []
        self._imports = ImportGate()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child
            )

    def renew(self, forked: ForkedObject) -> None:
        with self._lock:
            self._objects.add(forked)

    def pause(self, paused: PausedObject) -> None:
        with self._lock:
            self._paused.add(paused)
            self._objects.add(paused)

    def _before(self) -> None:
        self._lock.acquire()
        for paused in list(self._paused):
            paused.before_fork()
            # Only what came to rest may go on.
            self._resting.append(paused)
        # Last: a transaction that is waited for may import.
        self._imports.before_fork()

    def _in_parent(self) -> None:
        self._imports.after_fork_in_parent()
        while self._resting:
            self._resting.pop().after_fork_in_parent()
        self._lock.release()

    def _in_child(self) -> None:
        # First: whatever begins anew may import.
        self._imports.after_fork()
        self._lock = threading.RLock()
        self._resting.clear()
        for forked in list(self._objects):
            forked.after_fork()


_forks = _Forks()
