"""Tasks, events and attempts as JSON documents, the same in every command."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from taskdb.errors import PayloadMissing
from taskdb.model.entity import Attempt, Progress, TaskEntity, TaskError, TaskEvent

_HIDDEN = {"inline_input", "inline_result", "input_ref", "result_ref", "reader"}


def task_json(task: TaskEntity, *, payloads: bool = True) -> dict[str, Any]:
    """Every field of a task; input and result only where `payloads` asks for them.

    One that the payload store has lost is left out, and `payload_missing` names its reference.
    """
    document = {
        "id": task.id,
        "code": task.code,
        "key": task.key,
        **{
            field.name: _plain(getattr(task, field.name))
            for field in fields(task)
            if field.name not in _HIDDEN and field.name != "id"
        },
        "attempts_used": task.attempts_used,
    }
    return {**document, **_payloads(task)} if payloads else document


def event_json(event: TaskEvent) -> dict[str, Any]:
    """One line of a history."""
    return {field.name: _plain(getattr(event, field.name)) for field in fields(event)}


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """One run of a body."""
    return {field.name: _plain(getattr(attempt, field.name)) for field in fields(attempt)}


def _payloads(task: TaskEntity) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("input", "result"):
        try:
            found[name] = getattr(task, name)
        except PayloadMissing as error:
            found[name] = None
            found["payload_missing"] = error.reference
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, TaskError):
        return value.as_json()
    if isinstance(value, Progress):
        return {"current": value.current, "total": value.total, "message": value.message}
    if isinstance(value, tuple):
        return list(value)
    return value
