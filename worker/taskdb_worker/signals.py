"""Signal receivers that keep the row true where the task wrapper cannot.

`task_prerun` claims. The others do nothing where the wrapper in this process has written the
outcome. Where it could not (a killed child, a hard limit, a revocation, an unknown type), they
write. Receivers in the main process hand their writes to the writer's thread.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import signals

from taskdb.model.entity import TaskError
from taskdb_worker.process.report import readable_id
from taskdb_worker.process.worker_process import WorkerProcess
from taskdb_worker.run.error import task_error
from taskdb_worker.run.tracked_task import ENDED, TOKEN, TrackedTask, chunk_count, token_of


class Receivers:
    """The receivers of one worker app. Celery holds them weakly, so the app keeps this object."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self._report = process.report
        settings = process.taskdb.settings
        self._may_remark = not settings.message_keys or settings.message_unsigned == "accept"

    def connect(self) -> None:
        """Connect every receiver to its signal."""
        signals.task_prerun.connect(self.on_prerun)
        signals.task_success.connect(self.on_success)
        signals.task_failure.connect(self.on_failure)
        signals.task_retry.connect(self.on_retry)
        signals.task_revoked.connect(self.on_revoked)
        signals.task_unknown.connect(self.on_unknown)
        signals.task_rejected.connect(self.on_rejected)

    def on_prerun(self, sender: Any = None, **_: Any) -> None:
        """Claim the task, or the items of a chunk. `__call__` obeys the claim."""
        if isinstance(sender, TrackedTask):
            sender.claim(sender.request)

    def on_success(self, sender: Any = None, **_: Any) -> None:
        """Do nothing: the wrapper wrote the outcome. Celery has no success without `__call__`."""

    def on_failure(
        self, sender: Any = None, task_id: str = "", exception: Any = None, **_: Any
    ) -> None:
        """Write the failure of a run whose wrapper has not written it."""
        request = getattr(sender, "request", None)
        token = self._unwritten(sender, request)
        if token is not None:
            # Celery sends this signal twice for a hard limit; by then the task may be queued again.
            setattr(request, ENDED, True)
            name = sender.name
            if isinstance(exception, WorkerLostError):
                self._process_lost(task_id, name, token, request, exception)
            elif chunk_count(request) is not None:
                self._chunk_lost(name, request, task_error(exception, 0))
            else:
                self._write("failed", lambda: self._report.failed(task_id, name, token, exception))

    def _process_lost(
        self, task_id: str, name: str, token: str, request: Any, error: WorkerLostError
    ) -> None:
        is_chunk = chunk_count(request) is not None

        def write(is_stopping: bool) -> None:  # noqa: FBT001 - its only argument
            if is_chunk:
                said = task_error(error, 0)
                self._report.chunk_lost(task_id, name, token, said, is_stopping=is_stopping)
            else:
                self._report.lost(task_id, name, token, error, is_stopping=is_stopping)

        unclaimed = partial(self._report.unclaimed, task_id, name, str(error))
        self._process.write_loss(token, unclaimed, write)

    def on_retry(self, sender: Any = None, request: Any = None, **_: Any) -> None:
        """Write that a run was interrupted: Celery retries it without its wrapper."""
        token = self._unwritten(sender, request)
        if token is not None and chunk_count(request) is not None:
            error = TaskError("Interrupted", "the connection to the broker was lost")
            self._chunk_lost(sender.name, request, error)
        elif token is not None:
            self._write("interrupted", lambda: self._report.interrupted(request.id, token))

    def on_revoked(self, sender: Any = None, request: Any = None, **_: Any) -> None:
        """Write the end of a run whose process was ended; the row decides if it is a cancel."""
        if not isinstance(sender, TrackedTask):
            return
        task_id, name, token = request.id, sender.name, token_of(request)
        if chunk_count(request) is not None:
            message = "its process was ended: an item of the chunk did not stop when asked"
            self._chunk_lost(name, request, TaskError("TaskRevoked", message))
        else:
            self._write("revoked", lambda: self._report.terminated(task_id, name, token))

    def on_unknown(self, sender: Any = None, name: str = "", id: str = "", **_: Any) -> None:
        """Record a message of a type that this worker does not have."""
        queues = tuple(sender.app.amqp.queues.consume_from)
        self._write("unknown", lambda: self._report.unknown(id, name, queues))

    def on_rejected(self, message: Any = None, exc: Any = None, **_: Any) -> None:
        """Record a message that cannot be decoded, in the row that it names."""
        task_id = readable_id(message)
        # An unsigned message proves nothing about a task.
        if task_id is not None and self._may_remark:
            reason = f"{type(exc).__name__}: {exc}" if exc else "unknown format"
            self._write("rejected", lambda: self._report.undecodable(task_id, reason))

    def _chunk_lost(self, name: str, request: Any, error: TaskError) -> None:
        chunk, token = request.id, token_of(request)
        self._write("failed", lambda: self._report.chunk_lost(chunk, name, token, error))

    def _unwritten(self, sender: Any, request: Any) -> str | None:
        """Return the token of a tracked run without an outcome of this process, or None."""
        if not isinstance(sender, TrackedTask) or getattr(request, ENDED, False):
            return None
        return getattr(request, TOKEN, None)

    def _write(self, what: str, work: Any) -> None:
        self._process.write(what, work)
