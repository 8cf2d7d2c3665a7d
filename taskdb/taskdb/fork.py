"""Renews the objects of a process in a child that is forked from it.

Connections, threads and locks of the parent are useless in the child: a socket that both use mixes
their data, and a lock that another thread held at the fork is never released.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet

from taskdb.fork_imports import ImportLock


class ForkedObject(Protocol):
    """An object that a fork would break."""

    def after_fork(self) -> None:
        """Reset, in the child, before any other code runs there."""


class PausedObject(ForkedObject, Protocol):
    """An object that must be at rest during a fork."""

    def before_fork(self) -> None:
        """Finish the current work, and start no new work."""

    def after_fork_in_parent(self) -> None:
        """Continue."""


def renew_after_fork(forked: ForkedObject) -> None:
    """Call its `after_fork` in every child that is forked from now on, while the object lives."""
    _forks.renew(forked)


def pause_at_fork(paused: PausedObject) -> None:
    """Pause the object during every fork from now on, while it lives."""
    _forks.pause(paused)


class RenewedLock:
    """A lock that is new in a forked child, where its holder at the fork does not exist.

    For locks of modules, and of objects that a child continues to use. A thread that forks inside
    the block leaves the block in the child as in the parent.
    """

    def __init__(self) -> None:
        self._lock = self._held = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Create a new lock. A block that the child is in releases the lock that it acquired."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        lock = self._lock
        lock.acquire()
        self._held = lock

    def __exit__(self, *_: object) -> None:
        self._held.release()


class _Forks:
    """Calls the registered objects around each fork of this process."""

    def __init__(self) -> None:
        # Held during a fork: it blocks another fork, and the registration of new objects.
        self._lock = threading.RLock()
        self._objects: WeakSet[ForkedObject] = WeakSet()
        self._paused: WeakSet[PausedObject] = WeakSet()
        self._resting: list[PausedObject] = []
        self._imports = ImportLock()
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
            # Only objects that were paused may continue.
            self._resting.append(paused)
        # Last, because a transaction that is awaited may import.
        self._imports.before_fork()

    def _in_parent(self) -> None:
        self._imports.after_fork_in_parent()
        while self._resting:
            self._resting.pop().after_fork_in_parent()
        self._lock.release()

    def _in_child(self) -> None:
        # First, because a reset may import.
        self._imports.after_fork()
        self._lock = threading.RLock()
        self._resting.clear()
        for forked in list(self._objects):
            forked.after_fork()


_forks = _Forks()
