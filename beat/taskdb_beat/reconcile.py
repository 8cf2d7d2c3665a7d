"""Reconcile: what should follow from the rows, and did not, because someone died in between.

So far its part for parents: those that wait for nothing any more, those whose time is up, and
those whose window is not full.
"""

from __future__ import annotations

import structlog

from taskdb.store.store import Store

log = structlog.get_logger("taskdb.reconcile")

_BATCH = 500


class Reconcile:
    """Lets neglected parents act, a batch a pass."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._after = ""

    def run_once(self) -> bool:
        """Look at one batch; answers whether there are more."""
        for parent_id in self._store.stop_overdue(_BATCH):
            log.warning("parent.timed_out", task_id=parent_id)
        found = self._store.neglected(_BATCH, self._after)
        for parent_id in found:
            self._store.join(parent_id)
        self._after = found[-1] if len(found) == _BATCH else ""
        return bool(self._after)
