"""The free space of this machine's disks, measured independently of scrapes.

A network file system that hangs delays this measurement only, so no check restarts the beat for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskdb.settings.settings import Settings
from taskdb.store.doctor.disk import Disk, disks

DISK_SECONDS = 60.0
"""The pause between two measurements."""


class DiskGauge:
    """Measures in a loop of its own."""

    def __init__(self, settings: Settings) -> None:
        self.disks: Sequence[Disk] = ()
        """Replaced as a whole by each measurement, so any thread may read it."""
        self._settings = settings

    def measure(self) -> bool:
        """Measure once. Returns False: there is never more to do at once."""
        self.disks = disks(self._settings)
        return False
