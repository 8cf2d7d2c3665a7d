"""Rescue: takes running tasks back from workers that are not seen any more.

Those of a watched app are not ours to take: what their dead workers ran is marked as lost.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from taskdb.entity import TaskError
from taskdb.settings import Settings
from taskdb.store.store import Store

log = structlog.get_logger("taskdb.rescue")

_BATCH = 500


class Rescue:
    """Finds tasks of dead workers, a batch a pass."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._lease = timedelta(seconds=settings.worker_lease_seconds)
        self._max_crashes = settings.max_crashes

    def run_once(self) -> bool:
        """Take a batch back; answers whether there may be more."""
        error = TaskError("WorkerLost", f"its worker was not seen for {self._lease}")
        moved = self._store.rescue(
            error, lease=self._lease, limit=_BATCH, max_crashes=self._max_crashes
        )
        for task_id, status in moved.items():
            log.warning("rescue.took_back", task_id=task_id, status=status)
            if status.is_terminal:
                self._store.settle(task_id)
        lost = self._store.lose(lease=self._lease, limit=_BATCH)
        for task_id in lost:
            log.warning("adopt.lost", task_id=task_id)
        return _BATCH in {len(moved), len(lost)}
