"""The presence of a watched worker, so that its running tasks are marked as lost when it dies.

Each boot has a row of `worker`, renewed from a thread of the main process. Unlike a TaskDB worker,
it waits for nothing: without a database the app runs on, and the row follows later.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
import time
from datetime import timedelta
from typing import Any

from celery import signals
from celery.worker import state as worker_state
from ulid import ULID

from taskdb.errors import DatabaseError
from taskdb.model.bounds import NAME_BYTES, clipped
from taskdb.model.json_text import storable
from taskdb.model.reference import adopted_id
from taskdb.settings.settings import Settings
from taskdb.store.store import Store
from taskdb.store.task.worker import Held, WorkerRecord
from taskdb_worker.adopted.log import log
from taskdb_worker.process.worker_process import release

_LAST_WORD_SECONDS = 2.0
_BATCH = 500


class Presence:
    """One boot of a worker of the app. Does nothing in a process without a worker."""

    def __init__(self, app: Any, store: Store, settings: Settings) -> None:
        self._app = app
        self._store = store
        self._settings = settings
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._main_pid = 0
        self.worker: str | None = None
        """The id of its row, known to the children of its pool as well."""

    def connect(self) -> None:
        """Wait for a worker to start."""
        signals.worker_init.connect(self.on_init, weak=False)
        signals.worker_ready.connect(self.on_ready, weak=False)
        signals.worker_shutdown.connect(self.on_shutdown, weak=False)

    def disconnect(self) -> None:
        """Stop waiting, and end what has begun."""
        signals.worker_init.disconnect(self.on_init)
        signals.worker_ready.disconnect(self.on_ready)
        signals.worker_shutdown.disconnect(self.on_shutdown)
        self.end()

    def on_init(self, sender: Any = None, **_: Any) -> None:
        """Take an id before the pool exists, so that its children know their worker."""
        if getattr(sender, "app", None) is not self._app:
            return
        self.worker = f"{clipped(storable(sender.hostname), NAME_BYTES)}/{ULID()}"
        self._main_pid = os.getpid()
        try:
            self._store.database.prepare()
        except Exception as error:  # noqa: BLE001 - the app starts without a database too
            log.warning("adopted_heartbeat.lost", reason=f"{type(error).__name__}: {error}"[:500])

    def on_ready(self, sender: Any = None, **_: Any) -> None:
        """Start the thread, once the pool exists and the worker consumes."""
        if getattr(getattr(sender, "controller", None), "app", None) is not self._app:
            return
        if self.worker is None or self._thread is not None:
            return
        record = WorkerRecord(
            id=self.worker,
            name=self.worker.partition("/")[0],
            host=socket.gethostname(),
            pid=os.getpid(),
            release=release(),
        )
        self._stop.clear()
        self._thread = threading.Thread(
            target=self._live, args=(record,), name="taskdb-adopt-presence", daemon=True
        )
        self._thread.start()
        # A cold shutdown sends no signal of its own, but the process ends.
        atexit.register(self.end)
        log.info("adoption.started", worker=record.name)

    def on_shutdown(self, sender: Any = None, **_: Any) -> None:
        """End, since the pool has stopped."""
        if sender is None or getattr(sender, "app", None) is self._app:
            self.end()

    def end(self) -> None:
        """Mark the worker as stopped, if the database is reachable. Repeated calls do nothing."""
        thread, self._thread = self._thread, None
        if thread is None or os.getpid() != self._main_pid:
            return
        atexit.unregister(self.end)
        self._stop.set()
        thread.join(_LAST_WORD_SECONDS)
        self.worker = None

    def _live(self, record: WorkerRecord) -> None:
        workers = self._store.workers
        pause = 0.0
        looks_at = time.monotonic() + self._settings.worker_lease_seconds
        while not self._stop.wait(pause):
            pause = self._settings.heartbeat_seconds
            try:
                workers.renew(record, Held(_running()))
                if time.monotonic() >= looks_at:
                    looks_at = time.monotonic() + self._settings.worker_lease_seconds
                    self._look_after()
            except DatabaseError as error:
                log.warning("adopted_heartbeat.lost", reason=str(error))
            except Exception as error:  # noqa: BLE001 - without its thread a worker counts as dead
                log.warning(
                    "adopted_heartbeat.lost", reason=f"{type(error).__name__}: {error}"[:500]
                )
        try:
            workers.stopped(record.id)
        except DatabaseError:
            # The row expires, which means the same a little later.
            return

    def _look_after(self) -> None:
        """Mark tasks of dead workers as lost, since there may be no beat."""
        lease = timedelta(seconds=self._settings.worker_lease_seconds)
        for task_id in self._store.adopted.lose(lease=lease, limit=_BATCH):
            log.warning("adopted_task.lost", task_id=task_id)


def _running() -> tuple[str, ...]:
    """Return the ids of the rows that this worker runs, as its main process knows them."""
    # In one step, so that the main thread cannot change the set during an iteration.
    references = worker_state.active_requests.data.copy()
    requests = [request for reference in references if (request := reference()) is not None]
    # A message may have an id of any type. One that is no text has no row.
    return tuple(adopted_id(one.id) for one in requests if isinstance(one.id, str))
