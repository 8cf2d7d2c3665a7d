"""What the main process reports of runs that could not speak for themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from billiard.exceptions import TimeLimitExceeded
from kombu.exceptions import ContentDisallowed, DecodeError

from taskdb.client import TaskDB
from taskdb.entity import TaskEntity, TaskError
from taskdb.errors import TaskNotFound
from taskdb.retry import ONCE, Retry
from taskdb.status import RUNNING
from taskdb.store.contract import EVERYONE
from taskdb_worker.run_error import task_error

log = structlog.get_logger("taskdb.report")

_UNREADABLE = (DecodeError, ContentDisallowed)
"""What a pool process raises for a message, before any task is in sight."""
_STOPPED = "its process ended with its worker"
_UNCLAIMED_DELAY = timedelta(seconds=1)
"""A message that was lost before its claim waits this long, so that no loop runs hot."""


class Report:
    """One write for each of the ends that Celery's main process announces.

    All may be repeated and may come late: the claim token of the delivery fences them.
    """

    def __init__(self, taskdb: TaskDB) -> None:
        self._taskdb = taskdb
        self._store = taskdb.store
        self._settings = taskdb.settings

    def failed(self, task_id: str, token: str, error: BaseException) -> None:
        """A run ended in the pool without writing; or its message was lost before the claim."""
        if isinstance(error, _UNREADABLE):
            self.undecodable(task_id, f"{type(error).__name__}: {error}")
            return
        if isinstance(error, TimeLimitExceeded):
            moved = self._timed_out(task_id, token, error)
        else:
            moved = self._store.fail(task_id, token, task_error(error, 0)) is not None
        self._settle(task_id, error, moved=moved)

    def unclaimed(self, task_id: str, reason: str) -> bool:
        """A message was lost with a process that had not claimed its task: it gets another."""
        said = f"lost before the claim: {reason}"
        return self._store.hand_back_unclaimed(task_id, said, _UNCLAIMED_DELAY)

    def lost(self, task_id: str, token: str, error: BaseException, *, is_stopping: bool) -> None:
        """The process of a run died; with a worker that stops, that is no crash."""
        if is_stopping:
            moved = self._store.hand_back(task_id, token, _STOPPED) is not None
        else:
            moved = self._crashed(task_id, token, error)
        self._settle(task_id, error, moved=moved)

    def _settle(self, task_id: str, error: BaseException, *, moved: bool) -> None:
        if not moved:
            # Never FAILED: nobody had run it.
            self.unclaimed(task_id, str(error))
        self._store.settle(task_id)

    def _crashed(self, task_id: str, token: str, error: BaseException) -> bool:
        status = self._store.crash(
            task_id,
            token,
            task_error(error, 0),
            delay=self._policy(task_id).delay(1),
            max_crashes=self._settings.max_crashes,
        )
        return status is not None

    def _timed_out(self, task_id: str, token: str, error: BaseException) -> bool:
        found = self._running(task_id)
        if found is None:
            return False
        policy = self._policy(task_id)
        stored = task_error(error, found.attempt)
        if policy.wants(error, found.attempts_used):
            delay = policy.delay(max(found.attempts_used, 1))
            return self._store.error(task_id, token, stored, delay) is not None
        return self._store.fail(task_id, token, stored) is not None

    def chunk_lost(
        self,
        chunk: str,
        token: str,
        error: TaskError,
        parent_id: str | None,
        *,
        is_stopping: bool = False,
    ) -> None:
        """The run of several items ended before all of them had: those go on alone.

        Or their message was lost before the claim.
        """
        if is_stopping:
            count = self._store.hand_back_chunk(chunk, token, _STOPPED)
        else:
            count = self._store.crash_chunk(chunk, token, error)
        if not count:
            reason = f"lost before the claim: {error.message}"
            self._store.hand_back_unclaimed(chunk, reason, _UNCLAIMED_DELAY)
        self._store.join(parent_id)

    def revoked(
        self, task_id: str, token: str, parent_id: str | None = None, *, terminated: bool
    ) -> None:
        """Someone told Celery to revoke it. A chunk's items come with the id of their parent."""
        message = "terminated while it ran" if terminated else "revoked before it ran"
        revoked = self._store.revoke_any(task_id, token, TaskError("TaskRevoked", message))
        self._follow(revoked or task_id, parent_id)

    def unknown(self, task_id: str, type_name: str, parent_id: str | None = None) -> None:
        """This worker has no such type: again later, perhaps at another worker."""
        message = (
            f"no task type {type_name!r} in this worker: name its module in TASKDB_TASK_MODULES "
            "of the workers, or deploy the code that has it"
        )
        self._store.stray(
            task_id,
            TaskError("UnknownTaskType", message),
            delay=timedelta(seconds=self._settings.unregistered_delay_seconds),
            limit=self._settings.unregistered_limit,
        )
        self._follow(task_id, parent_id)

    def undecodable(self, task_id: str, reason: str) -> None:
        """A message that names this task could not be read: it gets another, if it waits for one.

        Any other row stays as it is, with a remark.
        """
        said = f"a message was rejected: {reason}"
        if not self._store.hand_back_unclaimed(task_id, said, _UNCLAIMED_DELAY):
            self._store.remark(task_id, {"reason": said})

    def interrupted(self, task_id: str, token: str) -> None:
        """The run was stopped because the line to the broker broke; it does not count."""
        self._store.hand_back(task_id, token, "the line to the broker was lost")
        self._store.settle(task_id)

    def _follow(self, task_id: str, parent_id: str | None) -> None:
        if parent_id is None:
            self._store.settle(task_id)
        else:
            self._store.join(parent_id)

    def _running(self, task_id: str) -> TaskEntity | None:
        try:
            found = self._store.get(task_id, EVERYONE)
        except TaskNotFound:
            return None
        return found if found.status in RUNNING else None

    def _policy(self, task_id: str) -> Retry:
        try:
            known = self._taskdb.registry.find(self._store.get(task_id, EVERYONE).type)
        except TaskNotFound:
            return ONCE
        return known.retry if known else ONCE


def readable_id(message: Any) -> str | None:
    """The task id in the headers of a message that could not be decoded, if there is one."""
    headers = getattr(message, "headers", None)
    found = headers.get("id") if isinstance(headers, dict) else None
    return found if isinstance(found, str) else None
