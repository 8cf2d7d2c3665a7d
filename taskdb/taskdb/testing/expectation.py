"""Matches submitted tasks with an expectation, and explains the differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from taskdb.errors import did_you_mean
from taskdb.model.entity import TaskEntity

ANYTHING: Any = object()
"""No expectation about an input."""
_SHOWN = 5
"""The most tasks that a message lists; a test may have submitted any number."""
_WIDTH = 200


def matches(entity: TaskEntity, expected: Any) -> bool:
    """Whether a task's input is the expected one.

    For an expected mapping, every given field must be equal, and the input may have more. Any
    other value must be equal as a whole. Values are compared as JSON: a UUID equals its text.
    """
    if expected is ANYTHING:
        return True
    wanted, found = plain(expected), entity.input
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return all(name in found and found[name] == value for name, value in wanted.items())
    return bool(found == wanted)


def plain(value: Any) -> Any:
    """Return a value as JSON has it; a value without a JSON form stays unchanged."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        return value


def wanted_text(type_name: str, expected: Any, count: int | None) -> str:
    """Return the text of the expectation."""
    number = "a task" if count is None else f"exactly {count} task{'' if count == 1 else 's'}"
    whose = "" if expected is ANYTHING else f" with input {_short(plain(expected))}"
    return f"expected {number} of type {type_name!r}{whose}"


def difference(
    type_name: str, expected: Any, found: Sequence[TaskEntity], others: Sequence[TaskEntity]
) -> str:
    """List the tasks that match, those of the type that do not, and the counts of other types."""
    lines = [f"  fits: {_line(one)}" for one in found[:_SHOWN]]
    alike = [one for one in others if one.type == type_name]
    for one in alike[:_SHOWN]:
        lines.append(f"  differs: {_line(one)}")
        lines += [f"    {line}" for line in _items(one.input, expected)]
    if len(found) > _SHOWN or len(alike) > _SHOWN:
        lines.append(f"  ... {len(found)} fit, {len(alike)} differ")
    if not found and not alike:
        lines.append(_other_types(type_name, others))
    return "\n".join(lines)


def _other_types(type_name: str, others: Sequence[TaskEntity]) -> str:
    counts = Counter(one.type for one in others)
    if not counts:
        return "  nothing was submitted at all"
    listed = ", ".join(f"{name} ({number})" for name, number in sorted(counts.items()))
    return (
        f"  none of this type was submitted{did_you_mean(type_name, counts)}; there are: {listed}"
    )


def _items(found: Any, expected: Any) -> list[str]:
    """Return the fields in which an input differs from the expected one."""
    wanted = plain(expected)
    if not isinstance(wanted, Mapping) or not isinstance(found, Mapping):
        return [f"- {_short(wanted)}", f"+ {_short(found)}"]
    lines = []
    for name, value in wanted.items():
        if name not in found:
            lines += [f"- {name}: {_short(value)}", f"+ {name} is not there"]
        elif found[name] != value:
            lines += [f"- {name}: {_short(value)}", f"+ {name}: {_short(found[name])}"]
    return lines


def _line(entity: TaskEntity) -> str:
    return f"{entity.status} {entity.id} {_short(entity.input)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
