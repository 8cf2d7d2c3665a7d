"""Reconcile: does what should follow from the rows, and did not, because a process died.

It checks parents: those that wait for nothing any more, those past their deadline, and those whose
window is not full.
"""

from __future__ import annotations

import time

from taskdb.logger import get_logger
from taskdb.store.store import Store
from taskdb.store.tree.join import RECONCILE

log = get_logger("taskdb.reconcile")

_BATCH = 500
LOOK = 5_000
"""The most parents that one pass checks. With more, a round takes several intervals."""


class Reconcile:
    """Makes neglected parents continue, one page of the waiting parents a pass."""

    def __init__(self, store: Store, *, look: int = LOOK, is_whole: bool = False) -> None:
        """With `is_whole` the passes of a round follow each other at once."""
        self._store = store
        self._look = look
        self._is_whole = is_whole
        self._after = ""
        self._began = time.monotonic()

    def run_once(self) -> bool:
        """Check one page. Returns whether to check the next one at once.

        Healthy parents cost a bounded check each interval. Where a page has neglected parents, a
        process has probably died, and the next page follows at once.
        """
        if not self._after:
            self._began = time.monotonic()
        for parent_id in self._store.joins.stop_overdue(_BATCH):
            log.warning("parent.timed_out", task_id=parent_id)
        found, self._after = self._store.joins.neglected_page(self._look, self._after)
        for parent_id in found:
            self._store.joins.join(parent_id)
        if not self._after:
            self._store.aside.over(RECONCILE, time.monotonic() - self._began)
        return bool(self._after) and (bool(found) or self._is_whole)
