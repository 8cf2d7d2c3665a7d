"""Presenters of tasks, their events and attempts. A task fits into a row of 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

from taskdb.cli.document import document_of
from taskdb.cli.output import Output
from taskdb.cli.presenter import Field, Presenter, column
from taskdb.cli.value_text import clock_text, relative, text_of
from taskdb.errors import PayloadMissing
from taskdb.model.duration import rough_duration
from taskdb.model.entity import Attempt, Progress, TaskEntity, TaskEvent
from taskdb.redaction.printable import printable

_INNER = ("inline_input", "inline_result", "input_ref", "result_ref", "reader")


def task_json(task: TaskEntity) -> dict[str, Any]:
    """Every field of a task, with its input and its result.

    One that the payload store has lost is None, and `payload_missing` names its reference.
    """
    document = row_json(task)
    for name in ("input", "result"):
        try:
            document[name] = getattr(task, name)
        except PayloadMissing as error:
            document[name] = None
            document["payload_missing"] = error.reference
    return document


def row_json(task: TaskEntity) -> dict[str, Any]:
    """Every field of a task but its input and its result, which may be large."""
    return {
        "id": task.id,
        "code": task.code,
        "key": task.key,
        **document_of(task, without=_INNER),
        "attempts_used": task.attempts_used,
    }


def print_row(output: Output, task: TaskEntity) -> None:
    """A task in a line, or as a document without its payloads."""
    output.result(row_json(task), one_line(task))


def when(task: TaskEntity) -> datetime:
    """Return the end, the due time, the start or the creation: the first that the task has."""
    due = task.run_at if task.status in {"SCHEDULED", "ERRORED"} else None
    return due or task.ended_at or task.started_at or task.created_at


def about(task: TaskEntity) -> str:
    """Return error, progress, tenant and name, which differ among tasks of one type."""
    if task.error is not None and task.status in {"FAILED", "HALTED", "ERRORED"}:
        return task.error.message
    if task.progress is not None and not task.status.is_settled:
        return progress_text(task.progress)
    return " ".join(part for part in (task.tenant and f"[{task.tenant}]", _own_name(task)) if part)


def progress_text(progress: Progress) -> str:
    """Return `60% ######---- 3/5 reading`; the beginning is never cut off."""
    if not progress.total:
        return f"{progress.current:,} {progress.message}".strip()
    share = min(max(progress.current / progress.total, 0), 1)
    # Only what is whole is drawn: 95 % is no full bar, and 99.6 % is not 100 %.
    bar, percent = "#" * int(share * 10), int(share * 100)
    counts = f"{progress.current:,}/{progress.total:,}"
    return f"{percent}% {bar.ljust(10, '-')} {counts} {progress.message}".strip()


def one_line(task: TaskEntity) -> Text:
    """Return code, status, type and subject of the task, in one line."""
    words = Text.assemble(task.code, "  ", text_of(task.status), "  ", printable(task.type))
    described = printable(about(task))
    return words.append(f"  {described}") if described else words


def _own_name(task: TaskEntity) -> str:
    return "" if task.name == task.type else task.name


def _attempts(task: TaskEntity) -> str | None:
    if not task.attempt:
        return None
    budget = f" of {task.max_attempts}" if task.max_attempts else ""
    spared = f", {task.spared} not counted" if task.spared else ""
    crashes = f", {task.crashes} crashed" if task.crashes else ""
    return f"{task.attempts_used}{budget}{spared}{crashes}"


def _took(attempt: Attempt) -> str:
    ended = attempt.ended_at
    return "" if ended is None else rough_duration(ended - attempt.started_at)


def _at(name: str) -> Callable[[TaskEntity], datetime | None]:
    return lambda task: getattr(task, f"{name}_at")


_MOMENTS = (
    "created",
    "run",
    "deadline",
    "queued",
    "started",
    "ended",
    "cancel_requested",
    "updated",
)
_ADOPTED = "its own Celery app runs it; here it is only watched"

TASK = Presenter[TaskEntity](
    Field("id"),
    Field("code", column="CODE"),
    Field("status", column="STATUS"),
    Field("attempts", _attempts, column="RUN", cell=lambda task: task.attempt or ""),
    Field("type", column="TYPE"),
    Field("name", _own_name),
    column("ABOUT", lambda task: Text(printable(about(task)), no_wrap=True, overflow="ellipsis")),
    Field("tenant"),
    Field("adopted", lambda task: _ADOPTED if task.is_adopted else None),
    Field("progress", lambda task: task.progress and progress_text(task.progress)),
    Field("kind"),
    Field("role"),
    Field("parent id"),
    Field("position"),
    Field("queue"),
    Field("priority"),
    Field("unique key"),
    Field("tags"),
    Field("waits for"),
    Field("held by"),
    Field("worker"),
    Field("request id"),
    Field("created by"),
    Field("created ip"),
    Field("notify id"),
    *(Field(name.replace("_", " "), _at(name)) for name in _MOMENTS),
    column("WHEN", lambda task: relative(when(task))),
    document=row_json,
)

ATTEMPT = Presenter[Attempt](
    column("RUN", lambda attempt: attempt.number),
    column("STATUS", lambda attempt: attempt.status),
    column("BEGAN", lambda attempt: clock_text(attempt.started_at)),
    column("TOOK", _took),
    column("WORKER", lambda attempt: worker_text(attempt.worker)),
    column("WHY", lambda attempt: detail_text(attempt.detail)),
)

EVENT = Presenter[TaskEvent](
    column("AT", lambda event: clock_text(event.at)),
    column("FROM", lambda event: event.from_status or ""),
    column("TO", lambda event: event.to_status),
    column("RUN", lambda event: event.attempt or ""),
    column("WORKER", lambda event: worker_text(event.worker)),
    column("WHY", lambda event: detail_text(event.detail)),
)


def detail_text(detail: Mapping[str, Any]) -> str:
    """The detail of an event in a line."""
    words = {name: value for name, value in detail.items() if value}
    if "error" in words:
        words["error"] = str(words["error"]).rpartition(".")[2]
    by = words.pop("by", None)
    text = ": ".join(str(value) for value in words.values())
    return text if by is None else f"{text} (by {by})"


def worker_text(worker: str | None) -> str:
    """A worker without the id of its boot."""
    return (worker or "").partition("/")[0]
