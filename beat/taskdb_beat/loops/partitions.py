"""The loop `upkeep`: creates the partitions of the history for the coming days."""

from __future__ import annotations

from taskdb.logger import get_logger
from taskdb.store.store import Store

log = get_logger("taskdb.upkeep")

INTERVAL_SECONDS = 3600.0
RETRY_SECONDS = 10.0
"""The seconds until the next pass, if a lock of another transaction has stopped one."""


class Upkeep:
    """Creates partitions before they are needed."""

    def __init__(self, store: Store) -> None:
        self._partitioning = store.partitions

    def run_once(self) -> bool:
        """Create missing partitions. Returns False: there is never more to do at once."""
        for name in self._partitioning.create():
            log.info("partition.created", name=name)
        return False

    def seconds_to_next(self) -> float:
        """Return the seconds until the next pass."""
        return RETRY_SECONDS if self._partitioning.is_postponed else INTERVAL_SECONDS
