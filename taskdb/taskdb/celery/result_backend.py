"""Celery's result backend on the task table: it reads rows and never writes them.

So ``AsyncResult(task_id)`` reads the row, and results are not stored twice. An id without a row
raises ResultNotKept at once: with Celery's PENDING a caller would wait forever.
"""

# Celery's base class has no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from celery import states
from celery.backends.base import BaseBackend

from taskdb.celery.stored_exception import exception_of
from taskdb.errors import ResultNotKept, TaskNotFound
from taskdb.model.entity import TaskEntity, TaskRole
from taskdb.model.status import CELERY_STATES, TaskStatus


class SubTasks(Protocol):
    """The part of the client that reads sub-tasks."""

    def sub_tasks(
        self, reference: str, *, after: int, role: TaskRole | str | None
    ) -> Sequence[TaskEntity]:
        """Return sub-tasks of a role after a position, in order; raises TaskNotFound."""


class ResultReader(Protocol):
    """The methods of the client that this backend needs."""

    @property
    def trees(self) -> SubTasks:
        """The reader of sub-tasks."""

    def get_task(self, reference: str) -> TaskEntity:
        """Return the current task; raises TaskNotFound."""


class ChordRefused(NotImplementedError):
    """A caller used a chord of plain Celery tasks in an app of ours. Nothing was published."""

    def __init__(self) -> None:
        super().__init__(
            "a chord of plain signatures would never be joined here: its parts have no rows. The "
            "same holds for `group | task` and for `self.replace(group(...))`, of which Celery "
            "makes chords. Use submit_fan_out (or ctx.fan_out in a body), whose parts are joined "
            "whatever becomes of them; or call it in a Celery app with a result backend of its own"
        )


class RowBackend(BaseBackend):
    """Reads state, result and error from the row, which is authoritative."""

    supports_autoexpire = True
    persistent = True

    def _reader(self) -> ResultReader:
        reader: ResultReader = self.app.taskdb_reader
        return reader

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        try:
            meta = meta_of(self._reader().get_task(task_id))
        except TaskNotFound:
            raise ResultNotKept(task_id) from None
        decoded: dict[str, Any] = self.meta_from_decoded(meta)
        return decoded

    def get_state(self, task_id: str) -> str:
        """Return the state of a task; a worker reads it before it revokes a plain Celery task."""
        try:
            return str(super().get_state(task_id))
        except ResultNotKept:
            return str(states.PENDING)

    def exception_to_python(self, exc: Any) -> Any:
        """Return the exception of a row, in its own class if this process has imported it."""
        if isinstance(exc, BaseException) or not exc:
            return exc or None
        return exception_of(f"{exc['exc_module']}.{exc['exc_type']}", exc["exc_message"])

    def _store_result(self, *_args: Any, **_kwargs: Any) -> None:
        """Do nothing: the wrapper and the signals write the row."""

    def store_result(self, _task_id: str, result: Any, *_args: Any, **_kwargs: Any) -> Any:
        """Return the result unchanged: the wrapper and the signals write the row."""
        return result

    def apply_chord(self, header_result_args: Any, body: Any, **_kwargs: Any) -> None:
        """Raise ChordRefused: nothing can join the parts of Celery's chord, which have no rows."""
        raise ChordRefused

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_kwargs: Any) -> None:
        """Notify the worker, if it runs parts, that a part of a fan-out has ended."""
        ended = getattr(self.app, "taskdb_part_ended", None)
        if ended is not None:
            ended(request, state)

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        """Return the parts of a fan-out in order, as a GroupResult; None if there are none."""
        try:
            children = [self.app.AsyncResult(part.id) for part in self._parts(group_id)]
        except TaskNotFound:
            return None
        return self.app.GroupResult(group_id, children) if children else None

    def _parts(self, parent_id: str) -> Iterator[TaskEntity]:
        after = -1
        while page := self._reader().trees.sub_tasks(parent_id, after=after, role=TaskRole.PART):
            yield from page
            after = page[-1].position or 0

    def _save_group(self, _group_id: str, result: Any) -> Any:
        """Do nothing: the rows know their parent."""
        return result

    def _forget(self, _task_id: str) -> None:
        """Do nothing: only pruning removes rows."""

    def reload_task_result(self, task_id: str) -> None:
        """Drop Celery's cached value, so that the row is read."""
        self._cache.pop(task_id, None)


def meta_of(entity: TaskEntity) -> dict[str, Any]:
    """Return a row in the form that `AsyncResult` reads."""
    state = CELERY_STATES[entity.status]
    return {
        "task_id": entity.id,
        "name": entity.type,
        "status": state,
        "result": _result(entity, state),
        "traceback": entity.error.traceback if entity.error else None,
        "children": [],
        "date_done": entity.ended_at.isoformat() if entity.ended_at else None,
        "args": [],
        "kwargs": {},
        "worker": entity.worker,
        "retries": max(entity.attempt - 1, 0),
        "queue": entity.queue,
        "parent_id": entity.parent_id,
    }


def _result(entity: TaskEntity, state: str) -> Any:
    if state == states.SUCCESS:
        return entity.result
    if state in states.EXCEPTION_STATES:
        return _exception(entity)
    return None


def _exception(entity: TaskEntity) -> dict[str, str]:
    """Return the error in Celery's encoding, from which it makes an exception of that name."""
    if entity.status is TaskStatus.CANCELED:
        message = entity.error.message if entity.error else "canceled"
        return {
            "exc_type": "TaskRevokedError",
            "exc_message": message,
            "exc_module": "celery.exceptions",
        }
    if entity.error is None:
        return {"exc_type": entity.status.value, "exc_message": "", "exc_module": "taskdb"}
    module, _, name = entity.error.type.rpartition(".")
    return {
        "exc_type": name,
        "exc_message": entity.error.message,
        "exc_module": module or "builtins",
    }
