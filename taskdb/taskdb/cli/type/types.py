"""`taskdb types`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Output
from taskdb.cli.session import Session, with_session
from taskdb.cli.task.field import Field, fields_of
from taskdb.cli.type.sequences import print_sequence, print_sequences, sequence_json
from taskdb.cli.value_text import setting_text
from taskdb.errors import UnknownTaskType
from taskdb.model.duration import seconds_of
from taskdb.model.entity import TaskKind
from taskdb.redaction.printable import printable
from taskdb.types.task_type import TaskType


@with_session
def types(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this type or sequence.")
    ] = None,
) -> int:
    """List the task types and sequences of TASKDB_TASK_MODULES, or show one of them."""
    registry = session.taskdb.discover()
    queue = session.settings.default_queue
    found = list(registry) if name is None else [registry.get(name)] if name in registry else []
    chosen = registry.sequences if name is None else [name] * (name in registry.sequences)
    sequences = [registry.sequence(one) for one in chosen]
    if name is not None and not found and not sequences:
        raise UnknownTaskType(name, [*(one.name for one in registry), *registry.sequences])
    if session.is_json:
        for one in found:
            session.output.document(type_json(one, queue))
        for sequence in sequences:
            session.output.document(sequence_json(sequence, registry))
    elif name is not None:
        for one in found:
            _print_type(session.output, one, queue)
        for sequence in sequences:
            print_sequence(session.output, sequence, registry)
    elif found or sequences:
        _print_types(session.output, found, queue)
        print_sequences(session.output, sequences, registry)
    else:
        session.output.note("no task type: name their modules in TASKDB_TASK_MODULES")
    return ExitCode.OK


def type_json(one: TaskType, default_queue: str) -> dict[str, Any]:
    """A task type as data; durations in seconds."""
    return {
        "kind": TaskKind.TASK,
        "name": one.name,
        "description": one.description,
        "origin": one.origin,
        "module": one.body.__module__,
        "queue": one.queue or default_queue,
        "priority": one.priority,
        "max_attempts": one.retry.max_attempts,
        "backoff_seconds": seconds_of(one.retry.backoff),
        "timeout_seconds": seconds_of(one.timeout),
        "soft_timeout_seconds": seconds_of(one.soft_timeout),
        "unique": list(one.unique),
        "tags": list(one.tags),
        "input": one.adapter.json_schema(),
    }


def _print_types(output: Output, found: list[TaskType], default_queue: str) -> None:
    output.table(
        ("TYPE", "INPUT", "RUNS", "TIMEOUT", "QUEUE", "MODULE"),
        [
            (
                one.name,
                _input_words(one),
                str(one.retry.max_attempts),
                setting_text(one.timeout),
                one.queue or default_queue,
                one.body.__module__,
            )
            for one in found
        ],
    )


def _print_type(output: Output, one: TaskType, default_queue: str) -> None:
    described = type_json(one, default_queue)
    pairs = [
        (name.replace("_", " "), setting_text(value))
        for name, value in described.items()
        if name not in {"kind", "input", "description"} and value not in (None, [], "")
    ]
    output.pairs(pairs)
    if one.description:
        output.line(f"\n{printable(one.description)}")
    fields = fields_of(one)
    if fields:
        output.line()
        output.table(
            ("FIELD", "TYPE", "DEFAULT", "MEANING"),
            [(field.key, field.word, field.default_text, field.description) for field in fields],
        )


def _input_words(one: TaskType) -> str:
    if one.model is None:
        return "any JSON"
    return " ".join(_field_word(field) for field in fields_of(one)) or "-"


def _field_word(field: Field) -> str:
    return field.key if field.is_required else f"[{field.key}]"
