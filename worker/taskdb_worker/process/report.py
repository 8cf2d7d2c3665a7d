"""Reports by the main process for runs that did not write their own end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from billiard.exceptions import TimeLimitExceeded

from taskdb.client.taskdb import TaskDB
from taskdb.errors import TaskNotFound
from taskdb.logger import get_logger
from taskdb.model.entity import TaskEntity, TaskError
from taskdb.model.retry import ONCE, Retry
from taskdb.model.status import RUNNING
from taskdb.store.contract import EVERYONE
from taskdb_worker.run.error import task_error

log = get_logger("taskdb.report")

_STOPPED = "its process ended with its worker"
_TERMINATED = "its process was ended by remote control, and nobody had asked for a cancel"
_UNCLAIMED_DELAY = timedelta(seconds=1)
"""The delay of a task whose message was lost before its claim: never repeat at once."""


class Report:
    """One write for each end that Celery's main process announces.

    All may be repeated and may come late: the claim token of the delivery fences them.
    """

    def __init__(self, taskdb: TaskDB) -> None:
        self._taskdb = taskdb
        self._store = taskdb.store
        self._settings = taskdb.settings

    def failed(self, task_id: str, type_name: str, token: str, error: BaseException) -> None:
        """Fail a run that ended in the pool without a write, or hand its unclaimed task back."""
        if isinstance(error, TimeLimitExceeded):
            moved = self._timed_out(task_id, token, error)
        else:
            moved = self._store.outcomes.fail(task_id, token, task_error(error, 0)) is not None
        self._settle(task_id, type_name, str(error), moved=moved)

    def unclaimed(self, task_id: str, type_name: str, reason: str) -> bool:
        """Hand back a task whose message was lost before the claim. Returns whether it did."""
        said = f"lost before the claim: {reason}"
        return self._store.take_backs.hand_back_unclaimed(
            task_id, said, _UNCLAIMED_DELAY, type=type_name
        )

    def lost(
        self, task_id: str, type_name: str, token: str, error: BaseException, *, is_stopping: bool
    ) -> None:
        """Record a run whose process died. If its worker stops, that is no crash."""
        if is_stopping:
            moved = self._store.outcomes.hand_back(task_id, token, _STOPPED) is not None
        else:
            moved = self._crashed(task_id, token, error)
        self._settle(task_id, type_name, str(error), moved=moved)

    def terminated(self, task_id: str, type_name: str, token: str) -> None:
        """End a run whose process was ended: as canceled, if its row asks for a cancel.

        Otherwise remote control ended it, which any client of the broker can do. Then the run does
        not count, and the task is handed back.
        """
        error = TaskError("TaskRevoked", "terminated while it ran")
        moved = self._store.take_backs.revoke(task_id, token, error)
        if not moved:
            moved = self._store.outcomes.hand_back(task_id, token, _TERMINATED) is not None
        self._settle(task_id, type_name, _TERMINATED, moved=moved)

    def _settle(self, task_id: str, type_name: str, reason: str, *, moved: bool) -> None:
        if not moved:
            # Never FAILED: no worker had run it.
            self.unclaimed(task_id, type_name, reason)
        self._store.joins.settle(task_id)

    def _crashed(self, task_id: str, token: str, error: BaseException) -> bool:
        status = self._store.outcomes.crash(
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
            return self._store.outcomes.error(task_id, token, stored, delay) is not None
        return self._store.outcomes.fail(task_id, token, stored) is not None

    def chunk_lost(
        self, chunk: str, type_name: str, token: str, error: TaskError, *, is_stopping: bool = False
    ) -> None:
        """Record that a chunk's run ended before all its items did. The rest runs again, alone.

        If the message was lost before the claim, hand its items back.
        """
        parent_id = self._store.joins.parent_of_chunk(chunk)
        if is_stopping:
            count = self._store.outcomes.hand_back_chunk(chunk, token, _STOPPED)
        else:
            count = self._store.outcomes.crash_chunk(chunk, token, error)
        if not count:
            self.unclaimed(chunk, type_name, error.message)
        self._store.joins.join(parent_id)

    def unknown(self, task_id: str, type_name: str, queues: Sequence[str]) -> None:
        """Delay a task whose type this worker, which consumes `queues`, does not have."""
        message = (
            f"no task type {type_name!r} in this worker: name its module in TASKDB_TASK_MODULES "
            "of the workers, or deploy the code that has it"
        )
        self._store.take_backs.stray(
            task_id,
            TaskError("UnknownTaskType", message),
            delay=timedelta(seconds=self._settings.unregistered_delay_seconds),
            limit=self._settings.unregistered_limit,
            lease=timedelta(seconds=self._settings.worker_lease_seconds),
            type=type_name,
            queues=queues,
        )
        self._store.joins.settle(task_id)

    def undecodable(self, task_id: str, reason: str) -> None:
        """Remark in the history that a message of this task could not be read. No row moves."""
        self._store.runs.remark(task_id, {"reason": f"a message was rejected: {reason}"})

    def interrupted(self, task_id: str, token: str) -> None:
        """Hand back a run that was stopped when the broker disconnected. It does not count."""
        self._store.outcomes.hand_back(task_id, token, "the connection to the broker was lost")
        self._store.joins.settle(task_id)

    def _running(self, task_id: str) -> TaskEntity | None:
        try:
            found = self._store.tasks.get(task_id, EVERYONE)
        except TaskNotFound:
            return None
        return found if found.status in RUNNING else None

    def _policy(self, task_id: str) -> Retry:
        try:
            known = self._taskdb.types.registry.find(self._store.tasks.get(task_id, EVERYONE).type)
        except TaskNotFound:
            return ONCE
        return known.retry if known else ONCE


def readable_id(message: Any) -> str | None:
    """Return the task id in the headers of a message that could not be decoded, or None."""
    headers = getattr(message, "headers", None)
    found = headers.get("id") if isinstance(headers, dict) else None
    return found if isinstance(found, str) else None
