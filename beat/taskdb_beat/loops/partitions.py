"""Upkeep: the history's partitions of the coming days."""

from __future__ import annotations

from taskdb.logger import get_logger
from taskdb.store.store import Store

log = get_logger("taskdb.upkeep")

INTERVAL_SECONDS = 3600.0
RETRY_SECONDS = 10.0
"""Until the next pass, where a lock of another transaction has stopped one."""


class Upkeep:
    """Makes partitions before they are needed."""

    def __init__(self, store: Store) -> None:
        self._partitioning = store.partitions

    def run_once(self) -> bool:
        """Make what is missing; there is never more to do at once."""
        for name in self._partitioning.create():
            log.info("partition.created", name=name)
        return False

    def seconds_to_next(self) -> float:
        """How long the next pass may wait."""
        return RETRY_SECONDS if self._partitioning.is_postponed else INTERVAL_SECONDS
