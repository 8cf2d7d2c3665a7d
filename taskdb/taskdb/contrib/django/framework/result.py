"""Converts a row into a result of Django's task framework."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from taskdb.contrib.django.framework.names import Framework
from taskdb.model.entity import Attempt, TaskEntity
from taskdb.model.status import TaskStatus

NOTE = "django"
"""The attribute in which a row stores the values that only Django's task has."""

_WORKER = "taskdb_worker.run.execution"
_OF_PROCESS = ("SystemExit", "KeyboardInterrupt", "MemoryError")

_STATUSES = {
    TaskStatus.CREATED: "READY",
    TaskStatus.SCHEDULED: "READY",
    TaskStatus.QUEUED: "READY",
    TaskStatus.ERRORED: "READY",
    TaskStatus.STARTED: "RUNNING",
    TaskStatus.PROCESSING: "RUNNING",
    TaskStatus.FINISHED: "RUNNING",
    TaskStatus.COMPLETED: "SUCCESSFUL",
    TaskStatus.FAILED: "FAILED",
    # Django has no status for canceled or halted tasks: nothing follows by itself.
    TaskStatus.HALTED: "FAILED",
    TaskStatus.CANCELED: "FAILED",
}


def result_of(
    framework: Framework, django_task: Any, entity: TaskEntity, attempts: Iterable[Attempt]
) -> Any:
    """Return the current result; `attempts` are those of the history, oldest first."""
    runs = list(attempts)
    note = entity.attributes.get(NOTE) or {}
    call = entity.input or {}
    made = framework.result(
        task=_variant(django_task, entity, note),
        id=entity.id,
        status=framework.status[_STATUSES[entity.status]],
        enqueued_at=as_django(entity.created_at),
        started_at=as_django(runs[0].started_at) if runs else None,
        finished_at=as_django(entity.ended_at),
        last_attempted_at=as_django(runs[-1].started_at) if runs else None,
        args=call.get("args", []),
        kwargs=call.get("kwargs", {}),
        backend=note.get("backend", django_task.backend),
        errors=_errors(framework, entity, runs),
        worker_ids=[str(one.worker) for one in runs],
    )
    if entity.status is TaskStatus.COMPLETED:
        object.__setattr__(made, "_return_value", entity.result)
    return made


def as_django(moment: datetime | None) -> datetime | None:
    """Convert a moment for Django: aware, or naive in its default zone if USE_TZ is off."""
    if moment is None or settings.USE_TZ:
        return moment
    naive: datetime = timezone.make_naive(moment, timezone.get_default_timezone())
    return naive


def as_utc(moment: datetime | None) -> datetime | None:
    """Convert a moment of Django to UTC."""
    if moment is None:
        return None
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return moment.astimezone(UTC)


def error_of(framework: Framework, path: str, text: str) -> Any:
    """Return an error for the class name of a row, where a builtin class has no module.

    The worker's own class for an exception that ends a process is replaced by that exception's.
    """
    if path.rpartition(".")[0] == _WORKER:
        said = text.strip().rpartition("\n")[2]
        path = next((name for name in _OF_PROCESS if said.startswith(name)), path)
    whole = path if "." in path else f"builtins.{path}"
    return framework.error(exception_class_path=whole, traceback=text)


def _variant(django_task: Any, entity: TaskEntity, note: dict[str, Any]) -> Any:
    """Return the task as it was enqueued, with the options of `using`."""
    wanted = {
        "priority": note.get("priority"),
        "queue_name": note.get("queue_name"),
        "backend": note.get("backend"),
        "run_after": as_django(entity.run_at) if note.get("is_deferred") else None,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    if all(getattr(django_task, name) == value for name, value in given.items()):
        return django_task
    return django_task.using(**given)


def _errors(framework: Framework, entity: TaskEntity, runs: list[Attempt]) -> list[Any]:
    """Return one error for each failed attempt; only the last has a traceback."""
    found = []
    last = entity.error
    for run in runs:
        kind = run.detail.get("error")
        if kind is None or run.ended_at is None:
            continue
        if last is not None and last.attempt == run.number:
            found.append(error_of(framework, last.type, _text(last.type, last)))
        else:
            message = run.detail.get("message", "")
            found.append(error_of(framework, str(kind), f"{kind}: {message}\n"))
    is_over = entity.status in {TaskStatus.FAILED, TaskStatus.HALTED, TaskStatus.CANCELED}
    if is_over and last is not None and not any(run.number == last.attempt for run in runs):
        # It failed without a run: its deadline passed, or no worker knew its type.
        found.append(error_of(framework, last.type, _text(last.type, last)))
    return found


def _text(kind: str, error: Any) -> str:
    return error.traceback or f"{kind}: {error.message}\n"
