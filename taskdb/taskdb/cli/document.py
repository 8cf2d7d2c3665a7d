"""Nouns as JSON documents: every field of a dataclass, moments as ISO text."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

from taskdb.model.entity import TaskError


def document_of(
    noun: Any, *, without: Collection[str] = (), seconds: Collection[str] = ()
) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON values, except those that `without` names.

    A field that `seconds` names is a duration; its key gets the ending `_seconds`.
    """
    return {
        f"{field.name}_seconds" if field.name in seconds else field.name: json_value(
            getattr(noun, field.name)
        )
        for field in fields(noun)
        if field.name not in without
    }


def json_value(value: Any) -> Any:
    """A value of a field as JSON: moments as ISO text, durations in seconds."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, TaskError):
        return value.as_json()
    if isinstance(value, tuple | list):
        return [json_value(one) for one in value]
    return document_of(value) if is_dataclass(value) else value
