"""Callbacks: ends tasks whose callback did not come in time."""

from __future__ import annotations

import time

from taskdb.logger import get_logger
from taskdb.store.store import Store
from taskdb.store.tree.callback import CALLBACKS

log = get_logger("taskdb.callbacks")

_BATCH = 500


class Callbacks:
    """Ends tasks whose callback is late, one batch in each pass."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def run_once(self) -> bool:
        """End a batch. Returns whether there may be more."""
        began = time.monotonic()
        ended = self._store.callbacks.expire(_BATCH)
        for task_id in ended:
            log.warning("callback.expired", task_id=task_id)
        if len(ended) == _BATCH:
            return True
        self._store.aside.over(CALLBACKS, time.monotonic() - began)
        return False
