"""Durations as text, in both directions, and as seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import overload

from taskdb.model.bounds import LONGEST

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "min": 60, "s": 1, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|s|m|h|d|w)")
_EXACT = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)))
_ROUGH = ((86_400, "d"), (3_600, "h"), (60, "min"))


def parse_duration(text: str) -> timedelta:
    """Read a duration with units, such as `5m`, `1h30m`, `2d` or `500ms`.

    Raises ValueError for any other text, and for more than a hundred years.
    """
    spelled = text.strip().lower()
    parts = _PART.findall(spelled)
    if not parts or _PART.sub("", spelled).strip():
        raise ValueError(f"{text!r} is not a duration such as 5m, 1h30m or 2d")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not seconds <= LONGEST.total_seconds():
        raise ValueError(f"{text!r} is longer than {LONGEST.days:,} days")
    return timedelta(seconds=seconds)


def duration_text(length: timedelta) -> str:
    """Return the exact text of a duration, as `parse_duration` reads it: `1h30m`, `0.5s`."""
    if length < timedelta(0):
        return f"-{duration_text(-length)}"
    text = ""
    for unit, size in _EXACT:
        count, length = divmod(length, size)
        text += f"{count}{unit}" if count else ""
    if length or not text:
        text += f"{length.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
    return text


def rough_duration(length: timedelta | float) -> str:
    """Return a timedelta, or seconds, in the largest fitting unit: `350 ms`, `12 s`, `3 h`."""
    seconds = max(seconds_of(length), 0)
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit in _ROUGH:
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 1:.0f} s"


def utc_text(moment: datetime) -> str:
    """Return a moment as text with its zone: `2031-05-04 10:20:30 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@overload
def seconds_of(duration: timedelta | float) -> float: ...
@overload
def seconds_of(duration: timedelta | float | None) -> float | None: ...
def seconds_of(duration: timedelta | float | None) -> float | None:
    """Return the seconds of a timedelta. A number or None is returned as it is."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration
