"""JSON as the store keeps it: what is refused, and why, is said before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from taskdb.errors import NotEncodable

# Made once: `json.dumps` makes one for each value, which takes longer than to encode most.
_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def encode(value: Any, subject: str) -> str:
    """The value as compact JSON text.

    Keys that are numbers, booleans or None become text, as everywhere in JSON. Raises NotEncodable
    for what JSON has no word for (NaN, a set, an object, any other key), and for the two kinds of
    text that PostgreSQL cannot store: with a NUL character, or with half of a surrogate pair.
    """
    try:
        text = _COMPACT.encode(value)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotEncodable(_explain(value, subject, error)) from None
    if "\\u0000" in text:
        _refuse_nul(value, subject)
    return text


def decode(text: str) -> Any:
    """The value of JSON text."""
    return json.loads(text)


def storable(text: str, limit: int = 32_768) -> str:
    """Text made fit for a column: no NUL, no lone surrogate, shortened in the middle."""
    clean = text.replace("\x00", _REPLACEMENT).encode("utf-8", "replace").decode()
    if len(clean) <= limit:
        return clean
    half = limit // 2
    return f"{clean[:half]}\n... {len(clean) - 2 * half} characters left out ...\n{clean[-half:]}"


def _explain(value: Any, subject: str, error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        reason = "text with half of a surrogate pair"
    elif isinstance(error, RecursionError):
        reason = "nested too deeply, or contains itself"
    else:
        reason = str(error)
    where = _first_fault(value, "")
    place = f" at {where}" if where else ""
    return (
        f"{subject} is not JSON{place}: {reason}. Return plain dicts, lists, text, numbers, bools"
    )


def _first_fault(value: Any, path: str, depth: int = 0) -> str:
    """The path of the first part that does not encode by itself."""
    if depth > 50:  # noqa: PLR2004 - deep enough to point at it, safe for what contains itself
        return path
    for key, part in _members(value):
        try:
            json.dumps(part, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            return _first_fault(part, f"{path}.{key}" if path else str(key), depth + 1)
    return path


def _refuse_nul(value: Any, subject: str) -> None:
    left = [("", value)]
    while left:
        path, part = left.pop()
        if isinstance(part, str) and "\x00" in part:
            place = f" at {path}" if path else ""
            message = (
                f"{subject} has a NUL character{place}, which PostgreSQL cannot store: remove it"
            )
            raise NotEncodable(message)
        for key, member in _members(part):
            left.append((path, key))
            left.append((f"{path}.{key}" if path else str(key), member))


def _members(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    return []
