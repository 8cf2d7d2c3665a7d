"""The bounds of every stored value: length of a text, range of a moment, depth of JSON.

Every entry point checks them, so that no value is stored that an index, a database or a reader
cannot hold. Texts are measured in bytes of UTF-8, as indexes measure them: an entry of a PostgreSQL
index holds 2,704 bytes for all its columns.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from taskdb.errors import Fault, InvalidInput

NAME_BYTES = 500
"""A tenant, a task type, and other names that are indexed."""
KEY_BYTES = 1_000
"""A unique key or mutex key; it fits an index entry beside a tenant and a type."""
QUEUE_BYTES = 255
"""The name of a queue: the limit of AMQP."""
TEXT_BYTES = 1_000
"""A text without an index: the name of a task, its request, its creator, a tag."""

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(3000, 1, 1, tzinfo=UTC)
"""The range of moments; any duration can be added to them, in any time zone."""
LONGEST = timedelta(days=36_500)
"""The longest duration: a hundred years."""

DEEPEST = 64
"""Most levels of nested lists and objects."""
TOO_DEEP = f"nested too deeply: at most {DEEPEST} levels of lists and objects"
LARGEST = 2**63 - 1
"""The largest whole number of a column."""

_SHOWN = 200
_NOT_STORABLE = "has a character that cannot be stored (NUL, or half of a surrogate pair)"


def wrong_text(value: Any, limit: int = TEXT_BYTES) -> str | None:
    """Return why a value cannot be stored as text of at most `limit` bytes, or None if it can."""
    if not isinstance(value, str):
        return f"{shown(value)} is not text"
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        return _NOT_STORABLE
    if "\x00" in value:
        return _NOT_STORABLE
    if size > limit:
        return f"{size:,} bytes in UTF-8; at most {limit:,}"
    return None


def check_texts(subject: str, limit: int = TEXT_BYTES, **given: Any) -> None:
    """Raise InvalidInput that names every text that cannot be stored. A None is skipped."""
    faults = [
        Fault(name, reason)
        for name, text in given.items()
        if text is not None and (reason := wrong_text(text, limit)) is not None
    ]
    if faults:
        raise InvalidInput(subject, faults)


def clipped(text: str, limit: int = TEXT_BYTES) -> str:
    """Return the beginning of a storable text, at most `limit` bytes."""
    return text.encode()[:limit].decode(errors="ignore")


def is_bounded(moment: datetime) -> bool:
    """Return whether an aware moment is between the earliest and the latest."""
    return EARLIEST <= moment <= LATEST


def bounded(moment: datetime) -> datetime:
    """Return an aware moment in UTC, moved into the bounds. For values that are not refused."""
    return min(max(moment, EARLIEST), LATEST).astimezone(UTC)


def as_duration(given: Any, name: str) -> timedelta:
    """Return a duration from zero to a hundred years, from a timedelta or from seconds.

    Raises TypeError for another type, ValueError for a value out of bounds.
    """
    if isinstance(given, bool) or not isinstance(given, timedelta | int | float):
        raise TypeError(f"{name}={shown(given)} is not a duration: pass a timedelta, or seconds")
    try:
        duration = given if isinstance(given, timedelta) else timedelta(seconds=given)
    except (ValueError, OverflowError):
        duration = timedelta.min
    if not timedelta(0) <= duration <= LONGEST:
        raise ValueError(f"{name}={shown(given)} is not between 0 and {LONGEST.days:,} days")
    return duration


def spelled(reference: Any) -> str:
    """Return a reference of any type as text."""
    try:
        return str(reference)
    except ValueError:
        # An integer with too many digits.
        return shown(reference)


def shown(value: Any) -> str:
    """Return a short text of a value for a message, also if its `repr` raises."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except Exception as error:  # noqa: BLE001 - a message must not fail because of the value in it
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
