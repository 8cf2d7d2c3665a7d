"""The free space of this machine's disks, measured apart from every scrape.

A network file system that hangs delays this measurement only: it is no reason to restart a beat.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskdb.settings.settings import Settings
from taskdb.store.doctor.disk import Disk, disks
from taskdb_beat.loops.loop import Loop

_INTERVAL_SECONDS = 60.0


class DiskGauge:
    """Measures once a minute, in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self.disks: Sequence[Disk] = ()
        """Replaced as a whole by each measurement, so any thread may read it."""
        self._settings = settings
        self._loop = Loop("disks", self._measure, _INTERVAL_SECONDS)

    def start(self) -> None:
        """Start to measure."""
        self._loop.start()

    def stop(self) -> None:
        """Stop measuring. Does not wait for a measurement that hangs."""
        self._loop.stop(0)

    def _measure(self) -> bool:
        self.disks = disks(self._settings)
        return False
