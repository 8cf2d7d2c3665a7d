"""One boot of a worker: its identity, its held messages, its start and its end.

Made in the main process before the pool forks. Children inherit the identity and open connections
of their own.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
import time
from collections.abc import Callable, Collection
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from celery.worker import state as worker_state
from ulid import ULID

from taskdb.client.taskdb import TaskDB
from taskdb.errors import DatabaseError
from taskdb.fork import RenewedLock
from taskdb.logger import get_logger
from taskdb.model.bounds import NAME_BYTES, clipped
from taskdb.model.json_text import storable
from taskdb.outgoing.transports import import_channels
from taskdb.store.task.worker import CancelRequest, Held, WorkerRecord
from taskdb_worker.process.health_files import HealthFiles
from taskdb_worker.process.heartbeat import Heartbeat
from taskdb_worker.process.notifier import Notifier
from taskdb_worker.process.report import Report
from taskdb_worker.process.writer import Work, Writer
from taskdb_worker.run.execution import Execution
from taskdb_worker.run.lease import Lease
from taskdb_worker.run.tracked_task import TOKEN

log = get_logger("taskdb.worker")

_LAST_WRITES_SECONDS = 5.0
_LAST_WORDS_SECONDS = 2.0
_DOUBT_SECONDS = 1.0
_LOOK_SECONDS = 0.05


class WorkerProcess:
    """A worker, as the database sees it."""

    def __init__(self, taskdb: TaskDB) -> None:
        self.taskdb = taskdb
        self.id = ""
        self.report = Report(taskdb)
        self.execution = Execution(taskdb, "")
        self._main_pid = 0
        self._writer = Writer(self.execution)
        self._notifier = Notifier(taskdb)
        self._heartbeat: Heartbeat | None = None
        self._to_terminate: dict[str, CancelRequest] = {}
        self.own_token = ""
        """The token of a run without a message."""
        self._lock = RenewedLock()
        self._in_doubt: set[str] = set()
        """Tokens of runs whose process is lost, until the reason is clear."""

    # --- begin --------------------------------------------------------------------------------

    def begin(self, name: str, queues: tuple[str, ...], types: tuple[str, ...]) -> None:
        """Take an identity, write its row, and start the threads of the main process."""
        self.id = f"{clipped(storable(name), NAME_BYTES)}/{ULID()}"
        self.execution.worker = self.id
        self._main_pid = os.getpid()
        settings = self.taskdb.settings
        # Here and not in a thread, since the pool forks soon.
        self.taskdb.store.database.prepare()
        import_channels(settings)
        self.execution.lease = Lease(settings.worker_lease_seconds)
        self._heartbeat = Heartbeat(
            self.taskdb.store.workers,
            self._record(name, queues, types),
            settings.heartbeat_seconds,
            self.execution.lease,
            self._held,
            self._on_cancel,
            HealthFiles(settings.health_dir),
            self.execution.row_writes.notice.read,
        )
        self._heartbeat.start()
        self._writer.start()
        self._notifier.start()
        self.execution.tell_of_failure = self._notifier.wake
        # A cold shutdown sends no signal of its own, but the process ends.
        atexit.register(self.end)

    def _record(self, name: str, queues: tuple[str, ...], types: tuple[str, ...]) -> WorkerRecord:
        return WorkerRecord(
            id=self.id,
            name=name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=queues,
            types=types,
            release=release(),
        )

    # --- while it runs ------------------------------------------------------------------------

    @property
    def is_stopping(self) -> bool:
        """Whether this worker was asked to stop."""
        return _is_wanted(worker_state.should_stop) or _is_wanted(worker_state.should_terminate)

    @property
    def is_main_process(self) -> bool:
        """Whether this is the main process of the worker, and not a child of its pool."""
        return self._main_pid == os.getpid()

    def write(self, what: str, work: Work) -> None:
        """Carry out a receiver's write: in the main process by the writer's thread, else here."""
        if self.is_main_process:
            self._writer.write(what, lambda: self._write_and_wake(work))
        else:
            self.execution.write(work, what, "")

    def write_loss(
        self, token: str, unclaimed: Callable[[], bool], work: Callable[[bool], object]
    ) -> None:
        """Report that the process of a run is lost, and whether its worker stops.

        A signal to a process group may reach a child before its worker. A run that ends with its
        worker is no crash, so this waits a second for that. An unclaimed message needs no wait:
        `unclaimed` puts it back and returns whether it did.
        """
        self._in_doubt.add(token)

        def begin() -> None:
            if unclaimed():
                self._in_doubt.discard(token)
                return
            threading.Thread(
                target=self._judge_loss, args=(token, work), name="taskdb-loss", daemon=True
            ).start()

        self.write("lost", begin)

    def _judge_loss(self, token: str, work: Callable[[bool], object]) -> None:
        deadline = time.monotonic() + _DOUBT_SECONDS
        while not self.is_stopping and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)

        def write() -> None:
            work(self.is_stopping)
            self._in_doubt.discard(token)

        self.write("lost", write)

    def _write_and_wake(self, work: Work) -> None:
        """Write an end that the main process reports. It may be a failure."""
        work()
        self._notifier.wake()

    def _held(self) -> Held | None:
        """Return the deliveries that this worker holds, from the arrival of their messages on.

        None once it stops: Celery then forgets its running tasks, and `end` hands them back.
        """
        if self.is_stopping:
            return None
        requests = _requests()
        tokens = [request.request_dict.get(TOKEN, "") for request in requests]
        tokens += self._in_doubt.copy()
        return Held((*tokens, self.own_token), tuple(request.id for request in requests))

    def _on_cancel(self, cancel: CancelRequest) -> None:
        if cancel.waited_seconds >= self.taskdb.settings.cancel_grace_seconds:
            with self._lock:
                self._to_terminate[cancel.token] = cancel

    def end_canceled_now(self, ids: Collection[str]) -> None:
        """End the bodies of these tasks without the grace, if their rows ask for a cancel."""

        def work() -> None:
            for cancel in self.taskdb.store.workers.cancel_requests(self.id):
                if cancel.task_id in ids:
                    with self._lock:
                        self._to_terminate[cancel.token] = cancel

        self.write("revoked", work)

    def terminate_canceled(self, pool: Any) -> None:
        """End bodies that did not stop when asked. Call it from the main loop of the worker."""
        with self._lock:
            canceled, self._to_terminate = self._to_terminate, {}
        for token, cancel in canceled.items():
            request = _request_of(token)
            if request is None:
                continue
            try:
                request.terminate(pool)
            except NotImplementedError:
                log.warning("cancel.refused", task_id=cancel.task_id, pool=type(pool).__name__)

    # --- end ----------------------------------------------------------------------------------

    def runs_something(self) -> bool:
        """Whether a row is running on this worker. True also if the database is unavailable."""
        try:
            return self.taskdb.store.workers.has_running(self.id)
        except DatabaseError:
            return True

    def end(self) -> None:
        """Hand back held tasks, once the pool has stopped. Repeated calls do nothing."""
        if not self.is_main_process:
            return
        heartbeat = self._take_heartbeat()
        if heartbeat is None:
            return
        atexit.unregister(self.end)
        self._writer.stop(_LAST_WRITES_SECONDS)
        try:
            count = self.taskdb.store.endings.hand_back_worker(self.id, "its worker was shut down")
        except DatabaseError as error:
            # Rescue takes them back when this worker is not seen any more.
            log.warning("hand_back.failed", reason=str(error))
        else:
            if count:
                log.info("hand_back.completed", count=count)
        self._notifier.stop(_LAST_WORDS_SECONDS)
        heartbeat.stop()
        self.taskdb.close()

    def _take_heartbeat(self) -> Heartbeat | None:
        """Return the heartbeat once: the main thread and a cold shutdown may both call `end`."""
        with self._lock:
            heartbeat, self._heartbeat = self._heartbeat, None
        return heartbeat


def _is_wanted(stop: Any) -> bool:
    """Whether a stop is set. Celery stores the exit code, maybe 0, and None or False for none."""
    return stop is not None and stop is not False


def _request_of(token: str) -> Any:
    """Return the request of one delivery until it is over, or None.

    Celery's own map holds the last delivery of each task: a duplicate hides the running one, and a
    retry by hand the canceled one.
    """
    return next((one for one in _requests() if one.request_dict.get(TOKEN) == token), None)


def _requests() -> list[Any]:
    """Return every message that this worker holds, running or not."""
    # In one step, so that the main thread cannot change the set during an iteration.
    references = worker_state.reserved_requests.data.copy()
    return [request for reference in references if (request := reference()) is not None]


def release() -> str:
    """Return the release of this package that runs here."""
    try:
        return version("celery-taskdb")
    except PackageNotFoundError:
        return ""
