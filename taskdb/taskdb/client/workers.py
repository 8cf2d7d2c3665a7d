"""The workers that serve this database."""

from __future__ import annotations

from taskdb.client.caller.caller import Caller
from taskdb.settings.settings import Settings
from taskdb.store.store import Store
from taskdb.store.task.worker import WorkerRecord


class Workers:
    """`taskdb.workers`: for the operator only; other callers get InvalidInput."""

    def __init__(self, settings: Settings, store: Store, caller: Caller) -> None:
        self._settings = settings
        self._store = store
        self._caller = caller

    def list(self) -> list[WorkerRecord]:
        """Return workers that renewed their row within the lease and still run, newest first.

        Raises DatabaseError.
        """
        self._caller.require_operator()
        return self._store.workers.seen_since(self._settings.worker_lease_seconds)
