"""The message of an alarm: an envelope for programs, and text for people.

It is created once and stored in its row, so that every attempt sends the same message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskdb.model.alarm.alarm import AlarmEntity, MessageKind
from taskdb.model.duration import utc_text
from taskdb.model.message import Message
from taskdb.redaction.redaction import Redaction

ACTION = "sfn-alarm"
"""The `action` of the envelope, named as in the systems that TaskDB can replace."""
TABLE = "task"
VERSION = 1
_LINES = 12
"""Most lines of a traceback in the text for people."""


@dataclass(frozen=True, slots=True)
class AlarmMessage:
    """A message of an alarm, as its row stores it."""

    id: str
    stored: Mapping[str, Any]
    """The `title`, the `text` and the `envelope`, without secrets."""

    def message(self, _redaction: Redaction) -> Message:
        """Return the message to send, equal at every attempt."""
        envelope = self.stored["envelope"]
        content = envelope["content"]
        return Message(
            id=self.id,
            envelope=envelope,
            tenant=envelope["tenantCode"],
            type=content["type"],
            task_id=next(iter(content["taskIds"][-1:]), ""),
            attributes={
                "action": envelope["action"],
                "severity": content["severity"],
                "source": content["source"],
            },
            title=self.stored["title"],
            text=self.stored["text"],
        )


def message_of(alarm: AlarmEntity, kind: MessageKind, count: int) -> dict[str, Any]:
    """Return one message. `count` is the number of failures since the message before."""
    return {
        "title": title_of(alarm, kind, count),
        "text": text_of(alarm, kind, count),
        "envelope": envelope_of(alarm, kind, count),
    }


def envelope_of(alarm: AlarmEntity, kind: MessageKind, count: int) -> dict[str, Any]:
    """Return the envelope for programs; docs/reference/alarm-envelope.md has its schema."""
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
    """Return a title of one line."""
    what = _WORDS[kind].format(count=count)
    about = f"{alarm.subject}: {alarm.error_type or alarm.source}"
    return _line(f"[{alarm.severity}] {about}{what}")


def text_of(alarm: AlarmEntity, kind: MessageKind, count: int) -> str:
    """Return some lines of plain text."""
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
    """Return foreign text in one line: a line break in a title would end a header of a mail."""
    return " ".join(text.split())[:300]
