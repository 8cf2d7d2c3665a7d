"""`taskdb show`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Cell, Output, status_text
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.task.document import attempt_json, event_json, task_json
from taskdb.cli.task.table import one_line, progress_text
from taskdb.cli.task.tree import Branch, is_parent, parent_of, read_tree, tree_json
from taskdb.cli.task.tree_view import print_tree
from taskdb.cli.value_text import clock_text, moment_text, payload_text, setting_text
from taskdb.errors import PayloadMissing
from taskdb.model.duration import rough_duration
from taskdb.model.entity import Attempt, TaskEntity, TaskEvent
from taskdb.redaction.printable import printable

Reference = Annotated[str, typer.Argument(metavar="ID", help="Id, code or key of the task.")]

_TEXTS = (
    "kind", "role", "parent_id", "position", "queue", "priority", "unique_key", "tags",
    "waits_for", "held_by", "worker", "request_id", "created_by", "created_ip",
    "notify_id",
)  # fmt: skip
_MOMENTS = (
    "created_at", "run_at", "deadline_at", "queued_at", "started_at", "ended_at",
    "cancel_requested_at", "updated_at",
)  # fmt: skip


@with_session
def show(
    session: Session,
    reference: Reference,
    *,
    history: Annotated[bool, typer.Option("--history", help="Every move too.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Do not shorten payloads.")] = False,
    tenant: TenantOption = None,
) -> int:
    """Show a task: its fields, input and result, error and attempts.

    Of a parent also what is below it: a bar and counts for a fan-out, each step of a sequence,
    and the first parts that ended badly.
    """
    taskdb = session.taskdb_of(tenant)
    task = taskdb.get_task(reference)
    above = parent_of(taskdb, task)
    tree = read_tree(taskdb, task) if is_parent(task) else None
    attempts = taskdb.task_attempts(task.id)
    events = taskdb.task_history(task.id) if history else []
    if session.is_json:
        document = {
            **task_json(task),
            **_line_json(above, tree),
            "attempts": [attempt_json(one) for one in attempts],
        }
        if history:
            document["history"] = [event_json(event) for event in events]
        session.output.document(document)
        return ExitCode.OK
    print_task(session.output, task, above, full=full)
    if tree is not None:
        print_tree(session.output, tree)
    if attempts:
        print_attempts(session.output, attempts)
    if history:
        print_history(session.output, events)
    return ExitCode.OK


def print_task(
    output: Output, task: TaskEntity, above: TaskEntity | None = None, *, full: bool = False
) -> None:
    """Everything that the row says, the parent, and the payloads."""
    output.pairs(_fields(task, above))
    for name in ("input", "result"):
        _print_payload(output, task, name, full=full)
    if task.error is not None:
        _print_error(output, task)


def print_attempts(output: Output, attempts: list[Attempt]) -> None:
    """One row a run of the body."""
    output.line()
    output.table(
        ("RUN", "STATUS", "BEGAN", "TOOK", "WORKER", "WHY"),
        [
            (
                str(one.number),
                status_text(one.status),
                clock_text(one.started_at),
                _took(one),
                worker_text(one.worker),
                detail_text(one.detail),
            )
            for one in attempts
        ],
    )


def print_history(output: Output, events: list[TaskEvent]) -> None:
    """One row a move."""
    output.line()
    output.table(
        ("AT", "FROM", "TO", "RUN", "WORKER", "WHY"),
        [
            (
                clock_text(event.at),
                event.from_status.value if event.from_status else "",
                status_text(event.to_status),
                str(event.attempt or ""),
                worker_text(event.worker),
                detail_text(event.detail),
            )
            for event in events
        ],
    )


def detail_text(detail: Any) -> str:
    """What an event says beside the move, in a line."""
    words = {name: value for name, value in dict(detail).items() if value}
    if "error" in words:
        words["error"] = str(words["error"]).rpartition(".")[2]
    by = words.pop("by", None)
    told = ": ".join(str(value) for value in words.values())
    return printable(told if by is None else f"{told} (by {by})")


def worker_text(worker: str | None) -> str:
    """A worker without the id of its boot."""
    return printable((worker or "").partition("/")[0])


def _line_json(above: TaskEntity | None, tree: Branch | None) -> dict[str, Any]:
    """Where the task stands: above it its parent, below it its tree."""
    found: dict[str, Any] = {}
    if above is not None:
        found["parent"] = {
            name: getattr(above, name) for name in ("id", "code", "type", "name", "kind", "status")
        }
    if tree is not None:
        found["tree"] = tree_json(tree)
    return found


def _fields(task: TaskEntity, above: TaskEntity | None) -> Iterator[tuple[str, Cell]]:
    yield "id", task.id
    yield "code", task.code
    yield "type", printable(task.type)
    if task.name != task.type:
        yield "name", printable(task.name)
    yield "tenant", setting_text(task.tenant)
    yield "status", status_text(task.status)
    if task.is_adopted:
        yield "adopted", "its own Celery app runs it; here it is only watched"
    if task.progress is not None:
        yield "progress", printable(progress_text(task.progress))
    if task.attempt:
        yield "attempts", _attempts(task)
    if above is not None:
        yield "parent", Text.assemble(one_line(above), f"  ({above.kind})")
    yield from _plain_fields(task)


def _plain_fields(task: TaskEntity) -> Iterator[tuple[str, Cell]]:
    for name in _TEXTS:
        if getattr(task, name) not in {None, (), ""}:
            yield name.replace("_", " "), setting_text(getattr(task, name))
    for name in _MOMENTS:
        if getattr(task, name) is not None:
            yield name.removesuffix("_at").replace("_", " "), moment_text(getattr(task, name))
    for key, value in task.attributes.items():
        yield f"@{printable(key)}", payload_text(value)


def _attempts(task: TaskEntity) -> str:
    budget = f" of {task.max_attempts}" if task.max_attempts else ""
    spared = f", {task.spared} not counted" if task.spared else ""
    crashes = f", {task.crashes} crashed" if task.crashes else ""
    return f"{task.attempts_used}{budget}{spared}{crashes}"


def _print_payload(output: Output, task: TaskEntity, name: str, *, full: bool) -> None:
    try:
        value = getattr(task, name)
    except PayloadMissing as error:
        output.line(Text(f"\n{name}: {error}", style="red"))
        return
    if value is not None:
        output.line(Text(f"\n{name}", style="bold"))
        output.line(payload_text(value, whole=full))


def _print_error(output: Output, task: TaskEntity) -> None:
    error = task.error
    if error is None:
        return
    run = f" of attempt {error.attempt}" if error.attempt else ""
    output.line(Text(f"\nerror{run}", style="bold"))
    output.line(Text(printable(f"{error.type}: {error.message}"), style="red"))
    for line in error.traceback.rstrip().splitlines():
        output.line(Text(printable(line), style="dim"))


def _took(attempt: Attempt) -> str:
    if attempt.ended_at is None:
        return ""
    return rough_duration((attempt.ended_at - attempt.started_at).total_seconds())
