"""The lease of a worker: how long it may still claim, as all its processes see it.

A worker that is not seen for the length of the lease is considered dead, and rescue takes its tasks
back. So a worker whose main process is stopped or has lost the database must not claim. Its
children read the time of the last renewal in memory that they share with it.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable

from taskdb.logger import get_logger

log = get_logger("taskdb.worker")

_MARGIN = 0.25
"""A claim stays away from the end of the lease by this share of it."""
_LOOK_SECONDS = 0.05
_MOMENT = struct.Struct("d")


class Orphaned(SystemExit):
    """The main process of this worker is gone, so nothing renews its lease any more."""


class Lease:
    """Made in the main process before the pool forks. Times are monotonic, machine-wide seconds."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._limit = seconds * (1 - _MARGIN)
        self._renewed_at = mmap.mmap(-1, _MOMENT.size)
        self._main_pid = os.getpid()
        self.renew(now())

    def renew(self, moment: float) -> None:
        """Record a renewal in the database. `moment` is the time before that write began."""
        # A write of eight aligned bytes is atomic.
        _MOMENT.pack_into(self._renewed_at, 0, moment)

    def is_fresh(self) -> bool:
        """Whether a worker that claims now still counts as alive."""
        renewed_at: float = _MOMENT.unpack_from(self._renewed_at, 0)[0]
        return self.now() - renewed_at <= self._limit

    def wait(self) -> None:
        """Return once the lease is fresh. Raises Orphaned in a child of a dead main process."""
        if self.is_fresh():
            return
        log.warning("claim.paused")
        while not self.is_fresh():
            if os.getpid() != self._main_pid and os.getppid() != self._main_pid:
                raise Orphaned
            time.sleep(_LOOK_SECONDS)
        log.info("claim.resumed")
