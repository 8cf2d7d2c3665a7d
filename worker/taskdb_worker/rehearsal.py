"""Runs a body in this process as a worker would: for tests, without pool and broker."""

from __future__ import annotations

from uuid import uuid4

from taskdb.client.taskdb import TaskDB
from taskdb.errors import IllegalMove
from taskdb.model.status import WAITING, in_order
from taskdb.store.contract import EVERYONE
from taskdb_worker.run.execution import Execution
from taskdb_worker.run.outcome import Ended, RunOutcome


class BodyRunner:
    """Runs one attempt after another, each with a claim and an outcome in its row.

    Ignores time limits: only a pool can end a body from outside.
    """

    def __init__(self, taskdb: TaskDB, worker: str) -> None:
        self._taskdb = taskdb
        self._execution = Execution(taskdb, worker)
        # A report beside the body would wait for a transaction of the body, as its history would
        # depend on which of the two is faster.
        self._execution.progress = None

    def run(self, task_id: str) -> str | None:
        """Run the body of a waiting task once. Returns the row's new status.

        Returns None if the task cannot be claimed now (it is held or not due). Raises
        UnknownTaskType, and the exceptions of a test runner or of Ctrl-C that end the test itself.
        """
        found = self._taskdb.store.tasks.get(task_id, EVERYONE)
        task_type = self._taskdb.types.discover().get(found.type)
        token = uuid4().hex
        claim = self._execution.claim(task_id, task_type, token)
        if not claim.granted:
            if claim.status in WAITING and not self._execution.hold(task_id):
                self._execution.expire(task_id)
            return None
        ended = self._execution.run(task_id, task_type, claim, token, _RehearsedOutcome)
        self._taskdb.store.joins.settle(task_id)
        if claim.needs_admission:
            self._taskdb.limits.release(claim.wait_queues)
        return None if ended.status is None else str(ended.status)

    def refusal(self, task_id: str) -> IllegalMove:
        """Return the error of a task that cannot be claimed now, with the reason."""
        found = self._taskdb.get_task(task_id)
        status = str(found.status)
        if found.held_by is not None:
            status = f"{status}, held by {found.held_by}"
        elif found.run_at is not None and found.status in WAITING:
            status = f"{status}, due at {found.run_at.isoformat()}"
        return IllegalMove("claim", status, in_order(WAITING), task_id)


class _RehearsedOutcome(RunOutcome):
    """Raises exceptions that are meant for the test and not for the task."""

    def raised(self, error: BaseException) -> Ended:
        # A skip, a failure or a timeout of pytest is no Exception, so that code does not catch it.
        if not isinstance(error, Exception):
            raise error
        return super().raised(error)

    def crashed(self, error: Exception, cause: BaseException) -> Ended:
        if isinstance(cause, KeyboardInterrupt):
            raise cause
        return super().crashed(error, cause)
