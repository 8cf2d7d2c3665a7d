"""Sequences as `taskdb types` shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskdb.cli.output import Output
from taskdb.model.entity import TaskKind
from taskdb.redaction.printable import printable
from taskdb.types.registry import Registry
from taskdb.types.sequence import Sequence, Step


def sequence_json(one: Sequence, registry: Registry) -> dict[str, Any]:
    """A sequence as data."""
    return {
        "kind": TaskKind.SEQUENCE,
        "name": one.name,
        "steps": [_step_json(step, registry) for step in one.steps],
        "handlers": {stage: registry.name_of(handler) for stage, handler in one.handlers.items()},
        "unique": one.unique,
    }


def print_sequences(output: Output, sequences: Iterable[Sequence], registry: Registry) -> None:
    """One row a sequence; nothing where there is none."""
    found = [sequence_json(one, registry) for one in sequences]
    if not found:
        return
    output.line()
    output.table(
        ("SEQUENCE", "STEPS", "HANDLERS"),
        [
            (
                printable(one["name"]),
                " > ".join(printable(step["name"]) for step in one["steps"]),
                ", ".join(one["handlers"]) or "-",
            )
            for one in found
        ],
    )


def print_sequence(output: Output, one: Sequence, registry: Registry) -> None:
    """A sequence with its steps and handlers."""
    described = sequence_json(one, registry)
    output.pairs([("sequence", printable(one.name)), ("unique", str(one.unique).lower())])
    output.line()
    steps = [
        (str(place), printable(step["name"]), printable(step["type"]), step["kind"])
        for place, step in enumerate(described["steps"], start=1)
    ]
    handlers = [
        (stage, "", printable(name), "handler") for stage, name in described["handlers"].items()
    ]
    output.table(("STEP", "NAME", "RUNS", "AS"), [*steps, *handlers])


def _step_json(step: Step, registry: Registry) -> dict[str, Any]:
    if isinstance(step.of, Sequence):
        kind, name = TaskKind.SEQUENCE, step.of.name
    else:
        kind = TaskKind.TASK if step.fan_out is None else TaskKind.FAN_OUT
        name = registry.name_of(step.of)
    return {"name": step.name or name, "type": name, "kind": kind}
