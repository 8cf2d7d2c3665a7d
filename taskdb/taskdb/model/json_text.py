"""JSON as the store writes it. A value that cannot be stored is refused before the write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from taskdb.errors import NotEncodable
from taskdb.model.bounds import DEEPEST, TOO_DEEP

# Created once: `json.dumps` creates one per value, which takes longer than most encodings.
_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# A whole string, so that no part of it is read as a number.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9.]+e\+[0-9]+|-0\.0(?![0-9e])')
_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(code for code in range(256) if code not in b'[]{}"')
_STRING = re.compile(rb'"[^"]*"')
_MINUS_ZERO = "-1e-400"
"""JSONB has no signed zero; every reader rounds this number to -0.0."""


class Unreadable(dict[str, str]):
    """Replaces a JSON value that was written by hand and cannot be read."""

    def __init__(self, reason: str) -> None:
        super().__init__(unreadable=reason)


def encode(value: Any, subject: str, *, deepest: int | None = DEEPEST) -> str:
    """Return a value as compact JSON text, which every database reads as an equal value.

    Keys that are numbers, booleans or None become text, as usual in JSON. Raises NotEncodable for a
    value without a JSON form (NaN, a set, an object, any other key), for text that PostgreSQL
    cannot store (a NUL character, half of a surrogate pair), and for lists and objects nested
    deeper than `deepest`. Pass None for it if the parts of the value were checked before.
    """
    try:
        text = _COMPACT.encode(value)
        spelled = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotEncodable(_explain(value, subject, error)) from None
    if "\\u0000" in text:
        _refuse_nul(value, subject)
    if deepest is not None and _is_deeper(spelled, deepest):
        raise NotEncodable(
            f"{subject} is {TOO_DEEP}. Make it flatter, or store it elsewhere and pass its address"
        )
    if "e+" in text or "-0.0" in text:
        text = _TOKEN.sub(_as_every_database_reads, text)
    return text


def decode(text: str) -> Any:
    """Return the value of a JSON text."""
    return json.loads(text)


def storable(text: str, limit: int = 32_768) -> str:
    """Return text that fits a column: no NUL, no lone surrogate, shortened in the middle."""
    clean = text.replace("\x00", _REPLACEMENT).encode("utf-8", "replace").decode()
    if len(clean) <= limit:
        return clean
    half = limit // 2
    return f"{clean[:half]}\n... {len(clean) - 2 * half} characters left out ...\n{clean[-half:]}"


def _as_every_database_reads(token: re.Match[str]) -> str:
    """Return a number in the spelling that JSONB returns as an equal number.

    JSONB keeps digits, not the spelling: it would return 1e+16 as an integer.
    """
    word = token[0]
    if word[0] == '"':
        return word
    return _MINUS_ZERO if word == "-0.0" else f"{Decimal(word):f}.0"


def _is_deeper(text: bytes, deepest: int) -> bool:
    """Return whether lists and objects of a JSON text are nested deeper than this.

    It reads only brackets, and removes the innermost pairs until none is left. A walk over the
    values would take as long as their encoding.
    """
    if text.count(b"[") + text.count(b"{") <= deepest:
        return False
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = text.translate(_AS_BRACKETS, _NO_BRACKETS).replace(b'""', b"")
    if b'"' in brackets:
        brackets = _STRING.sub(b"", brackets)
    for _ in range(deepest):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


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
    """Return the path of the first part that cannot be encoded."""
    if depth > 50:  # noqa: PLR2004 - deep enough for a useful path, and a value may contain itself
        return path
    for key, part in _items(value):
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
            raise NotEncodable(
                f"{subject} has a NUL character{place}, which PostgreSQL cannot store: remove it"
            )
        for key, item in _items(part):
            left.append((path, key))
            left.append((f"{path}.{key}" if path else str(key), item))


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    return []
