"""`taskdb show`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from taskdb.cli.id_option import IdOf
from taskdb.cli.output import Output, json_text
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.task.presenter import ATTEMPT, EVENT, TASK, one_line, task_json
from taskdb.cli.task.tree import Branch, is_parent, parent_of, read_tree, tree_json
from taskdb.cli.task.tree_view import print_tree
from taskdb.cli.value_text import payload_text
from taskdb.errors import PayloadMissing
from taskdb.model.entity import TaskEntity, TaskError

Reference = Annotated[
    str,
    typer.Argument(metavar="ID", help="Id, code or key of the task; the beginning may do."),
    IdOf("taskdb_task"),
]


@with_session
def show(
    session: Session,
    reference: Reference,
    *,
    history: Annotated[bool, typer.Option("--history", help="With every move.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Do not shorten payloads.")] = False,
    tenant: TenantOption = None,
) -> None:
    """Show a task: its fields, input and result, error and attempts.

    Of a parent, also its sub-tasks: a bar and counts for a fan-out, each step of a sequence, and
    the first parts that ended badly.
    """
    taskdb, output = session.taskdb_of(tenant), session.output
    task = taskdb.get_task(reference)
    above = parent_of(taskdb, task)
    tree = read_tree(taskdb, task) if is_parent(task) else None
    attempts = taskdb.task_attempts(task.id)
    events = taskdb.task_history(task.id) if history else []
    if output.is_json:
        document = {
            **task_json(task),
            **_relatives_json(above, tree),
            "attempts": [ATTEMPT.document(one) for one in attempts],
        }
        if history:
            document["history"] = [EVENT.document(event) for event in events]
        output.document(document)
        return
    print_task(output, task, above, full=full)
    if tree is not None:
        print_tree(output, tree)
    if attempts:
        output.line()
        ATTEMPT.print_table(output, attempts)
    if events:
        output.line()
        EVENT.print_table(output, events)


def print_task(
    output: Output, task: TaskEntity, above: TaskEntity | None = None, *, full: bool = False
) -> None:
    """Print the fields of the row, the parent, and the payloads."""
    output.pairs([*TASK.pairs(task), *_more_pairs(task, above)])
    for name in ("input", "result"):
        _print_payload(output, task, name, full=full)
    if task.error is not None:
        _print_error(output, task.error)


def _more_pairs(task: TaskEntity, above: TaskEntity | None) -> Iterator[tuple[str, str | Text]]:
    if above is not None:
        yield "parent", Text.assemble(one_line(above), f"  ({above.kind})")
    for key, value in task.attributes.items():
        yield f"@{key}", json_text(value)


def _relatives_json(above: TaskEntity | None, tree: Branch | None) -> dict[str, Any]:
    """The parent and the tree below the task, where there are any."""
    found: dict[str, Any] = {}
    if above is not None:
        names = ("id", "code", "type", "name", "kind", "status")
        found["parent"] = {name: getattr(above, name) for name in names}
    if tree is not None:
        found["tree"] = tree_json(tree)
    return found


def _print_payload(output: Output, task: TaskEntity, name: str, *, full: bool) -> None:
    try:
        value = getattr(task, name)
    except PayloadMissing as error:
        output.line(Text(f"\n{name}: {error}", style="red"))
        return
    if value is not None:
        output.line(Text(f"\n{name}", style="bold"))
        output.line(payload_text(value, whole=full))


def _print_error(output: Output, error: TaskError) -> None:
    run = f" of attempt {error.attempt}" if error.attempt else ""
    output.line(Text(f"\nerror{run}", style="bold"))
    output.line(f"{error.type}: {error.message}", style="red")
    for line in error.traceback.rstrip().splitlines():
        output.line(line, style="dim")
