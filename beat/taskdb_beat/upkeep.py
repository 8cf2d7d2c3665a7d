"""Upkeep: the history's partitions of the coming days."""

from __future__ import annotations

import structlog

from taskdb.store.store import Store

log = structlog.get_logger("taskdb.upkeep")

INTERVAL_SECONDS = 3600.0


class Upkeep:
    """Makes partitions before they are needed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def run_once(self) -> bool:
        """Make what is missing; there is never more."""
        for name in self._store.create_partitions():
            log.info("partition.created", name=name)
        return False
