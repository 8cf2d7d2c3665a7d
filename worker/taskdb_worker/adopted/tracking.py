"""The parts that watch one Celery app: built, connected and disconnected."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from typing import Any

from celery import signals

from taskdb.client.taskdb import TaskDB
from taskdb.model.adopted import AdoptedReport
from taskdb.store.adopted.adopted import ADOPT
from taskdb_worker.adopted.buffer import ReportBuffer
from taskdb_worker.adopted.presence import Presence
from taskdb_worker.adopted.publishing import PublishMark
from taskdb_worker.adopted.receivers import AdoptedReceivers
from taskdb_worker.adopted.selection import Selection
from taskdb_worker.adopted.snapshot import Snapshot

_LAST_WRITES_SECONDS = 2.0


class Tracking:
    """A watched app; `untrack` ends it."""

    def __init__(
        self,
        app: Any,
        selection: Selection,
        *,
        taskdb: TaskDB | None,
        tenant: str | None,
        arguments_limit: int,
        result_limit: int,
    ) -> None:
        self.app = app
        self.options = (selection, taskdb, tenant, arguments_limit, result_limit)
        """The options of this tracking. A call with the same options returns the same tracking."""
        self._is_own = taskdb is None
        self.taskdb = taskdb or TaskDB()
        settings = self.taskdb.settings
        self._notebook = ReportBuffer(self._write, self._put_away, refused=self._set_aside)
        self._presence = Presence(app, self.taskdb.store, settings)
        self._mark = PublishMark(app)
        self._witness = AdoptedReceivers(
            app,
            selection,
            Snapshot(
                settings.redaction, arguments_limit=arguments_limit, result_limit=result_limit
            ),
            self._notebook,
            tenant=settings.default_tenant if tenant is None else tenant,
            worker=lambda: self._presence.worker,
            is_publishing=self._mark.is_here,
        )

    @property
    def dropped(self) -> int:
        """The number of reports of this process that could not be written. Each is logged."""
        return self._notebook.dropped

    def begin(self) -> None:
        """Start watching."""
        self._witness.connect()
        self._presence.connect()
        self._mark.begin()
        signals.worker_process_shutdown.connect(self.on_child_end, weak=False)
        signals.worker_shutdown.connect(self.on_child_end, weak=False)
        atexit.register(self.on_exit)

    def end(self) -> None:
        """Stop watching: write waiting reports, end threads, close own connections."""
        self._mark.end()
        self._witness.disconnect()
        self._presence.disconnect()
        signals.worker_process_shutdown.disconnect(self.on_child_end)
        signals.worker_shutdown.disconnect(self.on_child_end)
        atexit.unregister(self.on_exit)
        self._notebook.close(_LAST_WRITES_SECONDS)
        self._put_away()

    def flush(self, seconds: float = _LAST_WRITES_SECONDS) -> bool:
        """Write the waiting reports of this process. Returns whether all are written."""
        return self._notebook.flush(seconds)

    def on_child_end(self, **_: Any) -> None:
        """Write waiting reports before a process of a pool, or the worker itself, ends."""
        self._notebook.flush(_LAST_WRITES_SECONDS)

    def on_exit(self) -> None:
        """Write waiting reports before the interpreter ends."""
        self._notebook.flush(_LAST_WRITES_SECONDS)

    def _write(self, reports: Sequence[AdoptedReport]) -> None:
        self.taskdb.store.adopted.see(reports)

    def _set_aside(self, one: AdoptedReport, error: Exception) -> None:
        self.taskdb.store.aside.note(ADOPT, one.id, error)

    def _put_away(self) -> None:
        if self._is_own:
            self.taskdb.close()
