"""Expire: fails tasks that no worker claimed before their deadline."""

from __future__ import annotations

import time

from taskdb.logger import get_logger
from taskdb.model.entity import TaskError
from taskdb.store.store import Store

log = get_logger("taskdb.expire")

_BATCH = 500
_ERROR = TaskError("TaskExpired", "expired: its deadline passed before a worker claimed it")


class Expire:
    """Fails expired tasks, a batch a pass."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def run_once(self) -> bool:
        """Fail a batch. Returns whether there may be more."""
        began = time.monotonic()
        ended = self._store.take_backs.expire_due(_ERROR, _BATCH)
        for task_id in ended:
            log.info("task.expired", task_id=task_id)
        for parent_id in dict.fromkeys(ended.values()):
            self._store.joins.join(parent_id)
        if len(ended) == _BATCH:
            return True
        self._store.aside.over("expire", time.monotonic() - began)
        return False
