"""How an alarm is told: in the envelope that programs read, and in words for people.

Made when the message is decided on and kept in its row, so that every attempt sends the same.
"""

from __future__ import annotations

from typing import Any

from taskdb.model.alarm.alarm import AlarmEntity, MessageKind
from taskdb.model.duration import utc_text

ACTION = "sfn-alarm"
"""What the envelope says it is; the word is that of the systems this one can take the place of."""
TABLE = "task"
VERSION = 1
_LINES = 12
"""Of a traceback, for people."""


def message_of(alarm: AlarmEntity, kind: MessageKind, count: int) -> dict[str, Any]:
    """One message: `count` is how often it came since the last one."""
    return {
        "title": title_of(alarm, kind, count),
        "text": text_of(alarm, kind, count),
        "envelope": envelope_of(alarm, kind, count),
    }


def envelope_of(alarm: AlarmEntity, kind: MessageKind, count: int) -> dict[str, Any]:
    """The envelope for programs; docs/reference/alarm-envelope.md has its schema."""
    sample = alarm.sample
    tenant = sample.get("tenant", alarm.tenant)
    pk = sample.get("pk") or f"ALARM#{tenant or ''}"
    sk = sample.get("sk") or alarm.fingerprint
    content = {
        "errorMessage": alarm.message,
        "errorType": alarm.error_type,
        "place": alarm.place,
        "traceback": sample.get("traceback", ""),
        "alarmId": alarm.id,
        "kind": str(kind),
        "source": str(alarm.source),
        "type": alarm.type,
        "severity": str(alarm.severity),
        "isRegression": alarm.is_regression,
        "count": count,
        "total": alarm.count,
        "firstSeenAt": alarm.first_seen_at.isoformat(),
        "lastSeenAt": alarm.last_seen_at.isoformat(),
        "taskIds": list(alarm.task_ids),
    }
    if "input" in sample:
        content["input"] = sample["input"]
    return {
        "action": ACTION,
        "version": VERSION,
        "id": f"{pk}#{sk}",
        "table": TABLE,
        "pk": pk,
        "sk": sk,
        "tenantCode": tenant or "",
        "content": content,
    }


def title_of(alarm: AlarmEntity, kind: MessageKind, count: int) -> str:
    """One line."""
    what = _WORDS[kind].format(count=count)
    about = f"{alarm.subject}: {alarm.error_type or alarm.source}"
    return _line(f"[{alarm.severity}] {about}{what}")


def text_of(alarm: AlarmEntity, kind: MessageKind, count: int) -> str:
    """Some lines, without marks of any kind of text."""
    several = f"{count:,} since the last message, {alarm.count:,} in all"
    lines = [
        alarm.message,
        "",
        f"What: {alarm.source}, {_line(alarm.type)}" if alarm.type else f"What: {alarm.source}",
        f"Where: {_line(alarm.place)}" if alarm.place else "",
        f"Tenant: {_line(alarm.tenant)}" if alarm.tenant else "",
        f"How often: {several if kind is not MessageKind.OPENED or count > 1 else 'once'}",
        f"When: {utc_text(alarm.first_seen_at)} to {utc_text(alarm.last_seen_at)}",
        f"Tasks: {', '.join(alarm.task_ids[:3])}" if alarm.task_ids else "",
        f"More: taskdb alarm show {alarm.id}",
    ]
    shown = [line for number, line in enumerate(lines) if line or number == 1]
    trace = alarm.sample.get("traceback", "").strip().splitlines()[-_LINES:]
    return "\n".join([*shown, *(["", *trace] if trace else [])])


_WORDS = {
    MessageKind.OPENED: "",
    MessageKind.AGAIN: " ({count:,} more)",
    MessageKind.REGRESSION: " is back",
}


def _line(text: str) -> str:
    """Text of others in one line: a line break in a title would be one in a mail's header."""
    return " ".join(text.split())[:300]
