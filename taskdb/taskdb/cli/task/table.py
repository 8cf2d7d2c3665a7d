"""Tasks as rows that are readable at 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.text import Text

from taskdb.cli.output import Cell, Output, status_text
from taskdb.cli.value_text import relative
from taskdb.model.entity import Progress, TaskEntity
from taskdb.redaction.printable import printable

HEADERS = ("CODE", "STATUS", "RUN", "TYPE", "ABOUT", "WHEN")


def print_tasks(output: Output, tasks: Iterable[TaskEntity]) -> None:
    """One row a task."""
    output.table(HEADERS, task_rows(tasks))


def task_rows(tasks: Iterable[TaskEntity]) -> list[Sequence[Cell]]:
    """The cells of each task, under `HEADERS`."""
    now = datetime.now(UTC)
    return [
        (
            task.code,
            status_text(task.status),
            str(task.attempt or ""),
            printable(task.type),
            Text(printable(about(task)), no_wrap=True, overflow="ellipsis"),
            relative(when(task), now),
        )
        for task in tasks
    ]


def when(task: TaskEntity) -> datetime:
    """The moment that matters most: it ended, it will run, it began, it was made."""
    due = task.run_at if task.status in {"SCHEDULED", "ERRORED"} else None
    return due or task.ended_at or task.started_at or task.created_at


def about(task: TaskEntity) -> str:
    """What tells this task from others of its type: error, progress, tenant, name."""
    if task.error is not None and task.status in {"FAILED", "HALTED", "ERRORED"}:
        return task.error.message
    if task.progress is not None and not task.status.is_settled:
        return progress_text(task.progress)
    name = "" if task.name == task.type else task.name
    return " ".join(part for part in (task.tenant and f"[{task.tenant}]", name) if part)


def progress_text(progress: Progress) -> str:
    """`60% ######---- 3/5 reading`: what matters most stands where it is not cut."""
    if not progress.total:
        return f"{progress.current:,} {progress.message}".strip()
    share = min(max(progress.current / progress.total, 0), 1)
    bar = "#" * round(share * 10)
    counts = f"{progress.current:,}/{progress.total:,}"
    return f"{share:.0%} {bar.ljust(10, '-')} {counts} {progress.message}".strip()


def one_line(task: TaskEntity) -> Text:
    """Code, status, type and what it is about, in a line."""
    words = Text.assemble(task.code, "  ", status_text(task.status), "  ", printable(task.type))
    described = printable(about(task))
    return words.append(f"  {described}") if described else words
