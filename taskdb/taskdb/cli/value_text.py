"""How values are written for people: durations, moments, text that may hold anything."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from taskdb.model.duration import duration_text, rough_duration
from taskdb.redaction.printable import printable

SHOWN_LINES = 40
SHOWN_CHARACTERS = 4_000


def relative(moment: datetime, now: datetime | None = None) -> str:
    """`3 s ago`, `in 2 min`, `now`."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{rough_duration(seconds)} ago" if seconds > 0 else f"in {rough_duration(-seconds)}"


def moment_text(moment: datetime, now: datetime | None = None) -> str:
    """Local time with its distance from now: `2031-05-04 10:20:30 (3 s ago)`."""
    local = moment.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S} ({relative(moment, now)})"


def clock_text(moment: datetime) -> str:
    """Local time of day with milliseconds, for lines of one run."""
    local = moment.astimezone()
    return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"


def setting_text(value: Any) -> str:
    """A duration, list or plain value in one line; `-` for nothing."""
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, tuple | list | set | frozenset):
        value = ", ".join(str(one) for one in value)
    return "-" if value is None or value == "" else printable(str(value))


def payload_text(value: Any, *, whole: bool = False) -> str:
    """JSON, pretty and shortened, unless the whole of it is wanted."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    lines = [printable(line) for line in text.splitlines()]
    if whole or (len(lines) <= SHOWN_LINES and len(text) <= SHOWN_CHARACTERS):
        return "\n".join(lines)
    shown = "\n".join(lines[:SHOWN_LINES])[:SHOWN_CHARACTERS]
    return f"{shown}\n… ({len(text):,} characters in all; --full shows them)"
