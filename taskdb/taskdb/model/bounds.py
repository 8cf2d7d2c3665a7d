"""The bounds of everything that is stored: how long a text, how late a moment, how deep a value.

Every door uses these, so that nothing comes in that an index, a database or a reader cannot take.
Texts are measured in bytes of UTF-8, as indexes do: an entry of a PostgreSQL index holds 2,704
bytes, the columns of one index counted together.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from taskdb.errors import Fault, InvalidInput

NAME_BYTES = 500
"""A tenant, a task type, and other names that are indexed."""
KEY_BYTES = 1_000
"""A unique key, a mutex key; beside a tenant and a type it fits an index entry."""
QUEUE_BYTES = 255
"""The name of a queue: AMQP has no room for more."""
TEXT_BYTES = 1_000
"""A text that is not indexed: the name of a task, its request, its creator, a tag."""

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(3000, 1, 1, tzinfo=UTC)
"""Moments are between these: any duration may be added, in any time zone."""
LONGEST = timedelta(days=36_500)
"""The longest duration: a hundred years."""

DEEPEST = 64
"""Levels of lists and objects inside each other."""
TOO_DEEP = f"nested too deeply: at most {DEEPEST} lists and objects may be inside each other"
LARGEST = 2**63 - 1
"""The largest whole number of a column."""

_SHOWN = 200
_NOT_STORABLE = "has a character that cannot be stored (NUL, or half of a surrogate pair)"


def wrong_text(value: Any, limit: int = TEXT_BYTES) -> str | None:
    """Why this cannot be stored as a text of at most so many bytes; None where it can."""
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
    """Raise InvalidInput that names every text that cannot be stored; None is left out."""
    faults = [
        Fault(name, reason)
        for name, text in given.items()
        if text is not None and (reason := wrong_text(text, limit)) is not None
    ]
    if faults:
        raise InvalidInput(subject, faults)


def clipped(text: str, limit: int = TEXT_BYTES) -> str:
    """The beginning of a storable text, at most so many bytes."""
    return text.encode()[:limit].decode(errors="ignore")


def is_bounded(moment: datetime) -> bool:
    """Whether an aware moment is between the earliest and the latest."""
    return EARLIEST <= moment <= LATEST


def bounded(moment: datetime) -> datetime:
    """An aware moment in UTC, moved into the bounds: for what others say, which is not refused."""
    return min(max(moment, EARLIEST), LATEST).astimezone(UTC)


def as_duration(given: Any, name: str) -> timedelta:
    """A duration from zero to a hundred years, given as a timedelta or in seconds.

    Raises TypeError for another type, ValueError for a value outside of the bounds.
    """
    if isinstance(given, bool) or not isinstance(given, timedelta | int | float):
        message = f"{name}={shown(given)} is no duration: give a timedelta, or seconds"
        raise TypeError(message)
    try:
        duration = given if isinstance(given, timedelta) else timedelta(seconds=given)
    except (ValueError, OverflowError):
        duration = timedelta.min
    if not timedelta(0) <= duration <= LONGEST:
        message = f"{name}={shown(given)} is no duration from zero to {LONGEST.days:,} days"
        raise ValueError(message)
    return duration


def spelled(reference: Any) -> str:
    """What names something, as text, whatever was given."""
    try:
        return str(reference)
    except ValueError:
        # A whole number with too many digits.
        return shown(reference)


def shown(value: Any) -> str:
    """A value in a message: short, and whatever its `repr` does."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except Exception as error:  # noqa: BLE001 - a message must not fail for the value that it names
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
