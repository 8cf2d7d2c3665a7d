"""Rescue: takes running tasks back from workers that are not seen any more.

Tasks of a watched app are not taken back. Those of dead workers are marked as lost.
"""

from __future__ import annotations

import time
from datetime import timedelta

from taskdb.logger import get_logger
from taskdb.model.entity import TaskError
from taskdb.settings.settings import Settings
from taskdb.store.adopted.adopted import ADOPT
from taskdb.store.store import Store
from taskdb.store.task.run import WORKER

log = get_logger("taskdb.rescue")

_BATCH = 500


class Rescue:
    """Finds tasks of dead workers, a batch a pass."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._lease = timedelta(seconds=settings.worker_lease_seconds)
        self._max_crashes = settings.max_crashes

    def run_once(self) -> bool:
        """Take a batch back. Returns whether there may be more."""
        began = time.monotonic()
        error = TaskError("WorkerLost", f"its worker was not seen for {self._lease}")
        moved = self._store.take_backs.rescue(
            error, lease=self._lease, limit=_BATCH, max_crashes=self._max_crashes
        )
        for task_id, status in moved.items():
            log.warning("task.rescued", task_id=task_id, status=status)
            if status.is_terminal:
                self._store.joins.settle(task_id)
        lost = self._store.adopted.lose(lease=self._lease, limit=_BATCH)
        for task_id in lost:
            log.warning("adopted_task.lost", task_id=task_id)
        if _BATCH in {len(moved), len(lost)}:
            return True
        # No loop has the other names: they mark rows that a worker or a person could not move.
        for loop in ("rescue", ADOPT, WORKER, "cancel", "retry"):
            self._store.aside.over(loop, time.monotonic() - began)
        return False
