"""The heartbeat of a worker: it renews the worker's row and reads cancel requests."""

from __future__ import annotations

import threading
from collections.abc import Callable

from taskdb.errors import DatabaseError
from taskdb.logger import get_logger
from taskdb.store.task.worker import CancelRequest, Held, WorkerRecord, Workers
from taskdb_worker.process.health_files import HealthFiles
from taskdb_worker.run.lease import Lease

log = get_logger("taskdb.heartbeat")

_AGAIN_SECONDS = 1.0


class Heartbeat:
    """Renews the row of one boot of a worker, from a thread of its main process."""

    def __init__(
        self,
        workers: Workers,
        record: WorkerRecord,
        interval_seconds: float,
        lease: Lease,
        held: Callable[[], Held | None],
        on_cancel: Callable[[CancelRequest], None],
        health: HealthFiles,
        waiting: Callable[[], str | None],
    ) -> None:
        self._workers = workers
        self._record = record
        self._interval = interval_seconds
        self._lease = lease
        self._held = held
        self._on_cancel = on_cancel
        self._health = health
        self._waiting = waiting
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Write the row, before anything is claimed, and continue in a thread."""
        self._until_announced()
        self._thread = threading.Thread(target=self._beat, name="taskdb-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and mark the row as stopped."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._interval)
            self._thread = None
        try:
            self._workers.stopped(self._record.id)
        except DatabaseError as error:
            log.warning("worker.end_lost", reason=str(error))

    def _until_announced(self) -> None:
        """Wait for the database: a claim by a worker without a row would look like a dead one's."""
        while not self._stop.is_set():
            began = self._lease.now()
            self._health.alive()
            try:
                self._workers.announce(self._record)
            except DatabaseError as error:
                log.warning("worker.start_delayed", reason=str(error))
                self._stop.wait(1.0)
            else:
                self._lease.renew(began)
                self._health.seen()
                return

    def _beat(self) -> None:
        pause = self._interval
        while not self._stop.wait(pause):
            pause = self._interval
            # The moment before the write, so that the lease never seems longer than it is.
            began = self._lease.now()
            self._health.alive()
            try:
                self._workers.renew(self._record, self._held(), self._waiting())
                self._lease.renew(began)
                self._health.seen()
                for request in self._workers.cancel_requests(self._record.id):
                    self._on_cancel(request)
            except DatabaseError as error:
                log.warning("heartbeat.lost", reason=str(error))
                # The worker claims nothing new until a renewal succeeds.
                pause = min(pause, _AGAIN_SECONDS)
            except Exception:
                # A worker whose heartbeat ends is considered dead while it works.
                log.exception("heartbeat.failed")
