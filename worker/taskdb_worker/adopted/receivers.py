"""The receivers of one watched app: each only appends a report.

They act for tasks of their app only and never raise. An error in a receiver is counted and logged,
and the task runs as if it were not watched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Task, signals, states

from taskdb.model.adopted import UNKNOWN, AdoptedReport, ReportKind
from taskdb.model.bounds import as_duration
from taskdb.model.entity import TaskError
from taskdb.model.status import TaskStatus
from taskdb_worker.adopted.buffer import ReportBuffer
from taskdb_worker.adopted.log import log
from taskdb_worker.adopted.message import Message, delivered, moment_of, published, queue_of
from taskdb_worker.adopted.run import Run, Runs
from taskdb_worker.adopted.selection import Selection
from taskdb_worker.adopted.snapshot import Snapshot
from taskdb_worker.run.tracked_task import TrackedTask

_SOON = timedelta(seconds=1)
"""An ETA that is nearer than this does not make a task SCHEDULED."""
_REPLACED = ("Replaced by new task", "Chord member replaced by new task")
"""Celery's texts when a body has replaced its task by another."""

_S = TaskStatus


def _harmless(receive: Callable[..., None]) -> Callable[..., None]:
    """Keep the errors of a receiver from the sender of the signal."""

    @functools.wraps(receive)
    def received(self: AdoptedReceivers, *arguments: Any, **values: Any) -> None:
        try:
            receive(self, *arguments, **values)
        except Exception as error:  # noqa: BLE001 - no error may reach the app
            self.broken += 1
            if self.broken == 1 or self.broken % 1_000 == 0:
                reason = f"{type(error).__name__}: {error}"[:500]
                what = receive.__name__
                log.warning(
                    "adopted_report.failed", receiver=what, count=self.broken, reason=reason
                )

    return received


class AdoptedReceivers:
    """The receivers of one process."""

    def __init__(
        self,
        app: Any,
        selection: Selection,
        snapshot: Snapshot,
        notebook: ReportBuffer,
        *,
        tenant: str,
        worker: Callable[[], str | None],
        is_publishing: Callable[[], bool],
    ) -> None:
        self._app = app
        self._selection = selection
        self._snapshot = snapshot
        self._notebook = notebook
        self._tenant = tenant
        self._worker = worker
        self._is_publishing = is_publishing
        self._runs = Runs()
        self.broken = 0
        self._receivers = (
            (signals.after_task_publish, self.on_publish),
            (signals.task_prerun, self.on_prerun),
            (signals.task_success, self.on_success),
            (signals.task_failure, self.on_failure),
            (signals.task_internal_error, self.on_failure),
            (signals.task_retry, self.on_retry),
            (signals.task_postrun, self.on_postrun),
            (signals.task_revoked, self.on_revoked),
            (signals.task_unknown, self.on_unknown),
            (signals.task_rejected, self.on_rejected),
        )

    def connect(self) -> None:
        """Connect every receiver."""
        for signal, receiver in self._receivers:
            signal.connect(receiver, weak=False)

    def disconnect(self) -> None:
        """Disconnect every receiver."""
        for signal, receiver in self._receivers:
            signal.disconnect(receiver)

    # --- publish ------------------------------------------------------------------------------

    @_harmless
    def on_publish(
        self,
        body: Any = None,
        headers: Any = None,
        exchange: Any = None,
        routing_key: Any = None,
        **_: Any,
    ) -> None:
        """Report a published message. The signal names no app, so the publish mark decides."""
        if not self._is_publishing():
            return
        message = published(body, headers)
        if message is None or not self._watches(message.type):
            return
        at = _now()
        self._note(
            message,
            ReportKind.PUBLISHED,
            _published_status(message, at),
            at,
            attempt=message.retries,
            ran=False,
            queue=queue_of(exchange, routing_key),
            run_at=message.eta,
            input=self._snapshot.arguments(message.args, message.kwargs),
        )

    # --- run ----------------------------------------------------------------------------------

    @_harmless
    def on_prerun(self, sender: Any = None, task_id: str = "", **_: Any) -> None:
        """Report that a run begins in this process."""
        message = self._delivered(sender)
        if message is None:
            return
        run = self._runs.begin(task_id, message.retries + 1, _now())
        address = sender.request.delivery_info or {}
        self._note(
            message,
            ReportKind.BEGUN,
            _S.STARTED,
            run.began_at,
            attempt=run.attempt,
            token=run.token,
            queue=queue_of(address.get("exchange"), address.get("routing_key")),
            priority=_whole(address.get("priority")),
            input=self._snapshot.arguments(message.args, message.kwargs),
        )

    @_harmless
    def on_success(self, sender: Any = None, result: Any = None, **_: Any) -> None:
        """Report a result. Celery has already published what follows."""
        message = self._delivered(sender)
        if message is not None:
            self._ended(message, _S.COMPLETED, result=self._snapshot.result(result))

    @_harmless
    def on_failure(
        self,
        sender: Any = None,
        task_id: str = "",
        exception: Any = None,
        einfo: Any = None,
        **_: Any,
    ) -> None:
        """Report a failed run: from its own process, or from the main one if that died."""
        if not self._is_own(sender):
            return
        error = self._snapshot.error(exception, einfo)
        request = sender.request
        if request.id == task_id:
            message = self._delivered(sender)
            if message is not None:
                self._ended(message, _S.FAILED, error=error)
        else:
            # The main process knows only the task.
            message = Message(task_id, sender.name, None, None, 0, None, None, {})
            self._note(message, ReportKind.ENDED, _S.FAILED, _now(), attempt=UNKNOWN, error=error)

    @_harmless
    def on_retry(
        self, sender: Any = None, request: Any = None, reason: Any = None, **_: Any
    ) -> None:
        """Report that a run asked for another one."""
        if not self._is_own(sender) or request is None:
            return
        message = delivered(request, sender.name)
        if message is None:
            return
        cause = getattr(reason, "exc", None)
        error = self._snapshot.error(reason if cause is None else cause)
        self._ended(message, _S.ERRORED, error=error, run_at=_due(getattr(reason, "when", None)))

    @_harmless
    def on_postrun(
        self, sender: Any = None, task_id: str = "", state: Any = None, retval: Any = None, **_: Any
    ) -> None:
        """Report a run that was ignored or rejected, and forget the run."""
        if not self._is_own(sender):
            return
        message = self._delivered(sender)
        if message is not None and state == states.IGNORED:
            self._ignored(message, retval)
        elif message is not None and state == states.REJECTED:
            self._rejected(message, retval)
        self._runs.end(task_id)

    def _ignored(self, message: Message, said: Any) -> None:
        if str(said) in _REPLACED:
            self._ended(message, _S.QUEUED, reason="another task was put in its place")
        else:
            error = TaskError("Ignore", self._snapshot.text(said) or "the body said so", "", 0)
            self._ended(message, _S.CANCELED, error=error)

    def _rejected(self, message: Message, said: Any) -> None:
        if getattr(said, "requeue", False):
            self._ended(message, _S.QUEUED, reason="rejected, to be delivered again")
        else:
            self._ended(message, _S.FAILED, error=self._snapshot.error(said))

    # --- what only a main process sees --------------------------------------------------------

    @_harmless
    def on_revoked(
        self,
        sender: Any = None,
        request: Any = None,
        terminated: Any = False,  # noqa: FBT002 - Celery sends it by keyword
        expired: Any = False,  # noqa: FBT002 - Celery sends it by keyword
        **_: Any,
    ) -> None:
        """Report a task that was revoked or expired."""
        if not self._is_own(sender) or request is None:
            return
        message = delivered(request, sender.name)
        if message is None:
            return
        if expired:
            status, error = _S.FAILED, ("TaskExpired", "expired before a worker ran it")
        elif terminated:
            status, error = _S.CANCELED, ("TaskRevoked", "terminated while it ran")
        else:
            status, error = _S.CANCELED, ("TaskRevoked", "revoked before it ran")
        ran = bool(terminated)
        self._note(
            message,
            ReportKind.ENDED,
            status,
            _now(),
            attempt=message.retries + (1 if ran else 0),
            ran=ran,
            error=TaskError(*error),
        )

    @_harmless
    def on_unknown(
        self, sender: Any = None, message: Any = None, name: str = "", id: str = "", **_: Any
    ) -> None:
        """Report a message that a worker dropped, since it has no such task."""
        reason = f"no task {name!r} in this worker: its message was dropped"
        self._dropped(sender, message, name, id, TaskError("UnknownTask", reason))

    @_harmless
    def on_rejected(
        self, sender: Any = None, message: Any = None, exc: Any = None, **_: Any
    ) -> None:
        """Report a message that a worker dropped, since it could not be read."""
        headers = getattr(message, "headers", None) or {}
        reason = f"its message cannot be read: {self._snapshot.text(exc) or 'unknown format'}"
        name, celery_id = headers.get("task"), headers.get("id")
        self._dropped(sender, message, name, celery_id, TaskError("MessageRejected", reason))

    def _dropped(
        self, consumer: Any, message: Any, name: Any, celery_id: Any, error: TaskError
    ) -> None:
        if getattr(consumer, "app", None) is not self._app:
            return
        if not isinstance(name, str) or not isinstance(celery_id, str) or not name or not celery_id:
            return
        if not self._selection.wants(name):
            return
        headers = getattr(message, "headers", None) or {}
        retries = _whole(headers.get("retries")) or 0
        seen = Message(celery_id, name, None, None, retries, None, None, {})
        self._note(
            seen, ReportKind.ENDED, _S.FAILED, _now(), attempt=seen.retries, ran=False, error=error
        )

    # --- notes --------------------------------------------------------------------------------

    def _ended(self, message: Message, status: TaskStatus, **said: Any) -> None:
        run: Run | None = self._runs.find(message.celery_id)
        self._note(
            message,
            ReportKind.ENDED,
            status,
            _now(),
            attempt=message.retries + 1,
            token=None if run is None else run.token,
            began_at=None if run is None else run.began_at,
            **said,
        )

    def _note(
        self, message: Message, kind: ReportKind, status: TaskStatus, at: datetime, **said: Any
    ) -> None:
        self._notebook.note(
            AdoptedReport(
                id=message.id,
                kind=kind,
                status=status,
                at=at,
                type=message.type,
                tenant=self._tenant,
                worker=None if kind is ReportKind.PUBLISHED or message.is_eager else self._worker(),
                expires_at=message.expires_at,
                attributes={**message.links},
                **said,
            )
        )

    # --- whose it is --------------------------------------------------------------------------

    def _delivered(self, task: Any) -> Message | None:
        return delivered(task.request, task.name) if self._is_own(task) else None

    def _is_own(self, task: Any) -> bool:
        return (
            isinstance(task, Task)
            and task.app is self._app
            and not isinstance(task, TrackedTask)
            and self._selection.wants(task.name)
        )

    def _watches(self, name: str) -> bool:
        if not self._selection.wants(name):
            return False
        return not isinstance(self._app._tasks.get(name), TrackedTask)  # noqa: SLF001 - its public name finalizes the app


def _published_status(message: Message, at: datetime) -> TaskStatus:
    if message.retries:
        return _S.ERRORED
    is_later = message.eta is not None and message.eta > at + _SOON
    return _S.SCHEDULED if is_later else _S.QUEUED


def _due(when: Any) -> datetime | None:
    if isinstance(when, int | float):
        # Celery could not wait for a countdown that is out of bounds, so it counts as none.
        with suppress(TypeError, ValueError):
            return _now() + as_duration(when, "countdown")
        return _now()
    return moment_of(when)


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _now() -> datetime:
    """Return the time to the millisecond, as every database stores it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1_000 * 1_000)
