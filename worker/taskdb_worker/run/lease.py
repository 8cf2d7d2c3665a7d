"""How long a worker may still act as one that lives, as all its processes see it.

Who is not seen for the length of the lease is taken for dead, and its tasks are taken back. So a
worker whose main process is stopped, or cut off from the database, must not take new ones: its
children look at the time of the last renewal in memory that they share with it.
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
"""Share of the lease that a claim keeps its distance from its end."""
_LOOK_SECONDS = 0.05
_MOMENT = struct.Struct("d")


class Orphaned(SystemExit):
    """The main process of this worker is gone, and nobody will renew its lease any more."""


class Lease:
    """Made in the main process before the pool forks; times are monotonic, machine-wide seconds."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._limit = seconds * (1 - _MARGIN)
        self._renewed_at = mmap.mmap(-1, _MOMENT.size)
        self._main_pid = os.getpid()
        self.renew(now())

    def renew(self, moment: float) -> None:
        """The database was told, and the telling began at this moment."""
        # Eight aligned bytes are written at once.
        _MOMENT.pack_into(self._renewed_at, 0, moment)

    def is_fresh(self) -> bool:
        """Whether a claim made now is that of a worker that is seen."""
        renewed_at: float = _MOMENT.unpack_from(self._renewed_at, 0)[0]
        return self.now() - renewed_at <= self._limit

    def wait(self) -> None:
        """Return once it is fresh; raises Orphaned in a child whose main process has died."""
        if self.is_fresh():
            return
        log.warning("claim.paused")
        while not self.is_fresh():
            if os.getpid() != self._main_pid and os.getppid() != self._main_pid:
                raise Orphaned
            time.sleep(_LOOK_SECONDS)
        log.info("claim.resumed")
