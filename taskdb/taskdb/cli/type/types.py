"""`taskdb types`."""

from __future__ import annotations

from typing import Annotated

import typer

from taskdb.cli.output import Output
from taskdb.cli.presenter import Presenter
from taskdb.cli.session import Session, with_session
from taskdb.cli.task.field import fields_of
from taskdb.cli.type.presenter import INPUT_FIELD, sequence_presenter, type_presenter
from taskdb.errors import UnknownTaskType
from taskdb.types.sequence import Sequence
from taskdb.types.task_type import TaskType


@with_session
def types(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this type or sequence.")
    ] = None,
) -> None:
    """List the task types and sequences of TASKDB_TASK_MODULES, or show one of them."""
    output, registry = session.output, session.taskdb.types.discover()
    found = [one for one in registry if name in {None, one.name}]
    sequences = [registry.sequence(one) for one in registry.sequences if name in {None, one}]
    if name is not None and not found and not sequences:
        raise UnknownTaskType(name, [*(one.name for one in registry), *registry.sequences])
    types_shown = type_presenter(session.settings.default_queue)
    sequences_shown = sequence_presenter(registry)
    if name is None or output.is_json:
        if found or not sequences:
            nothing = "no task type: name their modules in TASKDB_TASK_MODULES"
            types_shown.print_all(output, found, nothing)
        if sequences:
            output.line()
            sequences_shown.print_all(output, sequences, "")
        return
    for task_type in found:
        _print_type(output, types_shown, task_type)
    for sequence in sequences:
        _print_sequence(output, sequences_shown, sequence)


def _print_type(output: Output, shown: Presenter[TaskType], task_type: TaskType) -> None:
    shown.print_one(output, task_type)
    if task_type.description:
        output.line(f"\n{task_type.description}")
    fields = fields_of(task_type)
    if fields:
        output.line()
        INPUT_FIELD.print_table(output, fields)


def _print_sequence(output: Output, shown: Presenter[Sequence], sequence: Sequence) -> None:
    shown.print_one(output, sequence)
    output.line()
    document = shown.document(sequence)
    steps = [
        (str(place), step["name"], step["type"], step["kind"])
        for place, step in enumerate(document["steps"], start=1)
    ]
    handlers = [(stage, "", name, "handler") for stage, name in document["handlers"].items()]
    output.table(("STEP", "NAME", "RUNS", "AS"), [*steps, *handlers])
