"""Errors about one task: it is not found, cannot move, or did not end in time."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from taskdb.errors.taskdb_error import TaskDBError


class TaskNotFound(TaskDBError, LookupError):
    """No task has this id, code or key, or it belongs to a tenant outside this scope."""

    page = "how-to/keep-and-prune.md"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(
            f"no task {reference!r}: pass the id, code or key that submit_task returned. Pruned "
            "tasks and tasks of other tenants are not found"
        )


class ResultNotKept(TaskNotFound):
    """An `AsyncResult` of this package's Celery app has an id without a row."""

    page = "how-to/adopt-a-celery-app.md"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        TaskDBError.__init__(
            self,
            f"no row has the id {reference!r}, so there is no state or result to read. Results of "
            "plain Celery tasks (`delay`, `apply_async`, `send_task`) are not kept; pruned rows "
            "and rows of other tenants are not found. Declare the task with @task and call "
            "submit_task, or call it in a Celery app with its own result backend",
        )


class SequenceAlreadyCompleted(TaskDBError):
    """A COMPLETED sequence has no failed step to resume at. Nothing was changed."""

    page = "how-to/run-a-sequence.md"
    code = "JOB_ALREADY_COMPLETED"

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(
            f"sequence {task_id} is COMPLETED and has no failed step to resume at: run all steps "
            "again with force (retry_task(..., force=True), taskdb retry --force)"
        )


class IllegalMove(TaskDBError):
    """The state machine has no move of this verb from this status. Nothing was changed."""

    page = "reference/states.md"

    def __init__(self, verb: str, status: str, allowed: Iterable[str], task_id: str = "") -> None:
        self.verb = verb
        self.status = status
        self.allowed = tuple(allowed)
        self.task_id = task_id
        whose = f"task {task_id}" if task_id else "a task"
        super().__init__(
            f"cannot {verb} {whose} that is {status}; possible from "
            f"{', '.join(self.allowed) or 'no status'}"
        )


class TaskIsPruned(IllegalMove):
    """Pruning has deleted a part of this tree, so it cannot run again. Nothing was changed."""

    page = "how-to/keep-and-prune.md"

    def __init__(self, verb: str, task_id: str, root_id: str, status: str) -> None:
        super().__init__(verb, status, (), task_id)
        self.root_id = root_id
        message = (
            f"cannot {verb} task {task_id}: pruning has deleted sub-tasks of {root_id}, and its "
            "next run deletes the rest; submit the work again"
        )
        self.args = (message,)


class TaskIsAdopted(IllegalMove):
    """The task is adopted: its own Celery app moves it. Nothing was changed."""

    page = "how-to/adopt-a-celery-app.md"

    def __init__(
        self, verb: str, task_id: str, type_name: str, status: str, celery_id: str
    ) -> None:
        self.type_name = type_name
        self.celery_id = celery_id
        super().__init__(verb, status, (), task_id)
        advice = (
            f"revoke it there: celery -A YOUR_APP control revoke {shlex.quote(celery_id)}"
            if verb == "cancel"
            else f"call it again there, for example app.send_task({type_name!r}, args, kwargs)"
        )
        message = (
            f"cannot {verb} task {task_id}: it is adopted, its own Celery app runs it and TaskDB "
            f"only watches; {advice}"
        )
        self.args = (message,)


class AlreadyTracked(TaskDBError):
    """The Celery app is already tracked with other options. Nothing was changed."""

    page = "how-to/adopt-a-celery-app.md"

    def __init__(self, app: str) -> None:
        self.app = app
        super().__init__(
            f"{app} is already tracked with other options: call track once, or untrack it first"
        )


class CallbackRefused(TaskDBError, LookupError):
    """No task waits for the callback of this token. The error does not reveal the reason."""

    page = "how-to/wait-for-the-outside.md"

    def __init__(self) -> None:
        super().__init__(
            "no task waits for this callback: the token is wrong or used, its deadline has "
            "passed, or the task ended or started again; use the token of the newest run"
        )


class WaitTimeout(TaskDBError, TimeoutError):
    """The task had not ended when the timeout of `wait` passed. The task is not affected."""

    page = "how-to/why-is-it-not-running.md"

    def __init__(self, task_id: str, status: str, seconds: float) -> None:
        self.task_id = task_id
        self.status = status
        self.seconds = seconds
        super().__init__(
            f"task {task_id} is still {status} after {seconds:g} s; the task is not affected: "
            f"wait again, or read its history with `taskdb show {task_id}`"
        )


class WaitInterrupted(TaskDBError):
    """The client was closed while it waited for a task. The task is not affected."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(
            f"this TaskDB was closed while it waited for task {task_id}. The task is not "
            "affected: wait for it with a client that stays open"
        )
