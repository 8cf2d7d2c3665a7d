"""What belongs to one process is made anew in a child that was forked from it.

Connections, threads and locks of the parent mean nothing in the child: a socket used by both
mixes their words, and a lock that another thread held at the fork is never released.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet


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
    _objects.add(forked)


def pause_at_fork(paused: PausedObject) -> None:
    """Have it at rest during every fork from here on, for as long as it lives."""
    _paused.add(paused)
    renew_after_fork(paused)


def _pause() -> None:
    # Another thread may add one meanwhile; only those that came to rest may go on.
    _resting.objects = list(_paused)
    for paused in _resting.objects:
        paused.before_fork()


def _go_on() -> None:
    for paused in _resting.objects:
        paused.after_fork_in_parent()
    _resting.objects = []


def _renew() -> None:
    for forked in list(_objects):
        forked.after_fork()


_objects: WeakSet[ForkedObject] = WeakSet()
_paused: WeakSet[PausedObject] = WeakSet()
_resting = threading.local()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pause, after_in_parent=_go_on, after_in_child=_renew)
