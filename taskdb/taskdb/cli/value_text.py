"""Values as text for people: a coloured status, a moment in local time, a list, a payload."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.text import Text

from taskdb.model.alarm.alarm import AlarmState
from taskdb.model.duration import duration_text, rough_duration
from taskdb.model.status import TaskStatus
from taskdb.redaction.printable import printable

SHOWN_LINES = 40
SHOWN_CHARACTERS = 4_000

STATUS_STYLES = {
    TaskStatus.COMPLETED: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.HALTED: "bold red",
    TaskStatus.CANCELED: "magenta",
    TaskStatus.ERRORED: "yellow",
    TaskStatus.STARTED: "cyan",
    TaskStatus.PROCESSING: "cyan",
    TaskStatus.FINISHED: "cyan",
    TaskStatus.SCHEDULED: "blue",
}
_ALARM_STYLES = {
    AlarmState.OPEN: "bold red",
    AlarmState.ACKNOWLEDGED: "yellow",
    AlarmState.SNOOZED: "blue",
    AlarmState.RESOLVED: "green",
}


def text_of(value: Any) -> Text:
    """Any value in one line that no terminal reads as commands; `-` for None and no items."""
    if isinstance(value, Text):
        return value
    if value == "":
        return Text()
    if isinstance(value, TaskStatus):
        return Text(value.value, style=STATUS_STYLES.get(value, ""))
    if isinstance(value, AlarmState):
        return Text(value.value, style=_ALARM_STYLES[value])
    return Text(printable(_plain_text(value)))


def _plain_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return moment_text(value)
    return setting_text(value)


def setting_text(value: Any) -> str:
    """A duration, a list or a plain value as it is written in a setting; `-` for nothing."""
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, tuple | list | set | frozenset):
        value = ", ".join(str(one) for one in value)
    return "-" if value is None or value == "" else printable(str(value))


def counted(count: int, noun: str) -> str:
    """`1 task`, `2,000 tasks`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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
    """Local time of day with milliseconds, for rows of one run."""
    local = moment.astimezone()
    return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"


def payload_text(value: Any, *, whole: bool = False) -> str:
    """Return indented JSON, shortened unless all of it was requested."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    lines = [printable(line) for line in text.splitlines()]
    if whole or (len(lines) <= SHOWN_LINES and len(text) <= SHOWN_CHARACTERS):
        return "\n".join(lines)
    shown = "\n".join(lines[:SHOWN_LINES])[:SHOWN_CHARACTERS]
    return f"{shown}\n… ({len(text):,} characters in all; --full shows them)"
