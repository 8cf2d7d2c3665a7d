"""Presenters of task types and sequences."""

from __future__ import annotations

from typing import Any

from taskdb.cli.document import json_value
from taskdb.cli.presenter import Field, Presenter, column
from taskdb.cli.task.field import Field as InputField
from taskdb.cli.task.field import fields_of
from taskdb.model.entity import TaskKind
from taskdb.types.registry import Registry
from taskdb.types.sequence import Sequence, Step
from taskdb.types.task_type import TaskType


def type_presenter(default_queue: str) -> Presenter[TaskType]:
    """The presenter of task types; a type that names no queue uses the default one."""

    def queue(task_type: TaskType) -> str:
        return task_type.queue or default_queue

    def document(task_type: TaskType) -> dict[str, Any]:
        return {
            "kind": TaskKind.TASK,
            "name": task_type.name,
            "description": task_type.description,
            "origin": task_type.origin,
            "module": task_type.body.__module__,
            "queue": queue(task_type),
            "priority": task_type.priority,
            "max_attempts": task_type.retry.max_attempts,
            "backoff_seconds": json_value(task_type.retry.backoff),
            "timeout_seconds": json_value(task_type.timeout),
            "soft_timeout_seconds": json_value(task_type.soft_timeout),
            "unique": list(task_type.unique),
            "tags": list(task_type.tags),
            "input": task_type.adapter.json_schema(),
        }

    return Presenter(
        Field("name", column="TYPE"),
        Field("origin"),
        column("INPUT", _input),
        Field("max attempts", lambda task_type: task_type.retry.max_attempts, column="RUNS"),
        Field("backoff", lambda task_type: f"{json_value(task_type.retry.backoff):g} s"),
        Field("timeout", column="TIMEOUT"),
        Field("soft timeout"),
        Field("queue", queue, column="QUEUE"),
        Field("priority"),
        Field("unique"),
        Field("tags"),
        Field("module", lambda task_type: task_type.body.__module__, column="MODULE"),
        document=document,
    )


def sequence_presenter(registry: Registry) -> Presenter[Sequence]:
    """The presenter of sequences, whose steps and handlers the registry names."""

    def steps(sequence: Sequence) -> list[dict[str, Any]]:
        return [_step_json(step, registry) for step in sequence.steps]

    def document(sequence: Sequence) -> dict[str, Any]:
        handlers = {stage: registry.name_of(one) for stage, one in sequence.handlers.items()}
        return {
            "kind": TaskKind.SEQUENCE,
            "name": sequence.name,
            "steps": steps(sequence),
            "handlers": handlers,
            "unique": sequence.unique,
        }

    return Presenter(
        Field("sequence", lambda sequence: sequence.name, column="SEQUENCE"),
        Field("unique"),
        column("STEPS", lambda sequence: " > ".join(step["name"] for step in steps(sequence))),
        column("HANDLERS", lambda sequence: list(sequence.handlers)),
        document=document,
    )


INPUT_FIELD = Presenter[InputField](
    column("FIELD", lambda field: field.key),
    column("TYPE", lambda field: field.word),
    column("DEFAULT", lambda field: field.default_text),
    column("MEANING", lambda field: field.description),
)


def _input(task_type: TaskType) -> str:
    if task_type.model is None:
        return "any JSON"
    fields = fields_of(task_type)
    return " ".join(one.key if one.is_required else f"[{one.key}]" for one in fields) or "-"


def _step_json(step: Step, registry: Registry) -> dict[str, Any]:
    if isinstance(step.of, Sequence):
        kind, name = TaskKind.SEQUENCE, step.of.name
    else:
        kind = TaskKind.TASK if step.fan_out is None else TaskKind.FAN_OUT
        name = registry.name_of(step.of)
    return {"name": step.name or name, "type": name, "kind": kind}
