"""One small receiver a signal; together they keep the row true where no wrapper can.

`task_prerun` claims. The others find the outcome written by the wrapper of this very process and
cost nothing; where it could not write (a killed child, a hard limit, a revocation, an unknown
type), they do. Receivers in the main process only hand over to the writer's thread.
"""

from __future__ import annotations

from typing import Any

from celery import signals

from taskdb_worker.member import Member
from taskdb_worker.report import readable_id
from taskdb_worker.tracked_task import CLAIM, ENDED, TOKEN, TrackedTask, token_of


class Receivers:
    """The receivers of one worker app; Celery holds them weakly, so the app holds this."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._report = member.report

    def connect(self) -> None:
        """Start listening."""
        signals.task_prerun.connect(self.on_prerun)
        signals.task_success.connect(self.on_success)
        signals.task_failure.connect(self.on_failure)
        signals.task_retry.connect(self.on_retry)
        signals.task_revoked.connect(self.on_revoked)
        signals.task_unknown.connect(self.on_unknown)
        signals.task_rejected.connect(self.on_rejected)

    def on_prerun(self, sender: Any = None, task_id: str = "", **_: Any) -> None:
        """Claim the task; the answer stays on the request, where `__call__` obeys it."""
        if isinstance(sender, TrackedTask):
            request = sender.request
            claim = sender.execution.claim(task_id, sender.task_type, token_of(request))
            setattr(request, CLAIM, claim)

    def on_success(self, sender: Any = None, **_: Any) -> None:
        """The wrapper wrote it: Celery has no success without `__call__`."""

    def on_failure(
        self, sender: Any = None, task_id: str = "", exception: Any = None, **_: Any
    ) -> None:
        """A run failed; where its wrapper did not get to write, write that here."""
        request = getattr(sender, "request", None)
        token = self._unwritten(sender, request)
        if token is not None:
            # Celery announces a hard limit twice, and by then the task may be queued again.
            setattr(request, ENDED, True)
            self._write("failed", lambda: self._report.failed(task_id, token, exception))

    def on_retry(self, sender: Any = None, request: Any = None, **_: Any) -> None:
        """Celery announced a retry that no wrapper wrote: it cut the run short."""
        token = self._unwritten(sender, request)
        if token is not None:
            self._write("interrupted", lambda: self._report.interrupted(request.id, token))

    def on_revoked(
        self,
        sender: Any = None,
        request: Any = None,
        terminated: bool = False,  # noqa: FBT001, FBT002 - Celery sends it by keyword
        expired: bool = False,  # noqa: FBT001, FBT002 - Celery sends it by keyword
        **_: Any,
    ) -> None:
        """Someone revoked it, or its deadline passed."""
        if not isinstance(sender, TrackedTask):
            return
        task_id, token = request.id, token_of(request)
        if expired:
            self._write("expired", lambda: self._report.expired(task_id))
        else:
            self._write(
                "revoked",
                lambda: self._report.revoked(task_id, token, terminated=terminated),
            )

    def on_unknown(self, name: str = "", id: str = "", **_: Any) -> None:
        """A message of a type that this worker does not have."""
        self._write("unknown", lambda: self._report.unknown(id, name))

    def on_rejected(self, message: Any = None, exc: Any = None, **_: Any) -> None:
        """A message that nobody can read."""
        task_id = readable_id(message)
        if task_id is not None:
            reason = f"{type(exc).__name__}: {exc}" if exc else "unknown format"
            self._write("rejected", lambda: self._report.undecodable(task_id, reason))

    def _unwritten(self, sender: Any, request: Any) -> str | None:
        """The token of a tracked run whose outcome this process has not written."""
        if not isinstance(sender, TrackedTask) or getattr(request, ENDED, False):
            return None
        return getattr(request, TOKEN, None)

    def _write(self, what: str, work: Any) -> None:
        self._member.write(what, work)
