"""A change of status that is sent to a subscription, and its envelope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from taskdb.model.entity import TaskEntity, TaskEvent, TaskKind
from taskdb.model.message import Message
from taskdb.redaction.redaction import Redaction

VERSION = 1
TABLE = "task"
ATTRIBUTE_LIMIT = 32_768
"""Most characters of the attributes of an envelope, approximately."""
RESULT_LIMIT = 16_384
"""A larger result is left out, in characters; a receiver reads it from the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One history row, and the values of its task that are sent with it.

    `result` is the result of the task, if this event is its completion.
    """

    event: TaskEvent
    type: str
    kind: TaskKind
    parent_id: str | None = None
    position: int | None = None
    notify_id: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None

    @property
    def action(self) -> str:
        return "task-status" if self.parent_id is None else "sub-task-status"

    @property
    def id(self) -> str:
        """The id of the message: equal each time that this event is sent, and unique to it."""
        return f"{self.event.task_id}-{self.event.id}"

    def message(self, redaction: Redaction) -> Message:
        """Return the message to send, without secrets."""
        event, task = self.event, _task(self)
        attributes = redaction.value(_attributes(self), ATTRIBUTE_LIMIT)
        envelope = {
            "version": VERSION,
            "action": self.action,
            "id": self.notify_id or task.key,
            "pk": task.pk,
            "sk": task.sk,
            "table": TABLE,
            "tenantCode": event.tenant,
            "content": {"status": event.to_status.value, "attributes": attributes},
            "eventId": self.id,
            "taskId": event.task_id,
            "parentId": self.parent_id,
            "type": self.type,
            "kind": self.kind.value,
            "attempt": event.attempt,
            "from": event.from_status.value if event.from_status else None,
            "at": event.at.isoformat(),
        }
        return Message(
            id=self.id,
            envelope=envelope,
            tenant=event.tenant,
            type=self.type,
            task_id=event.task_id,
            attributes={"action": self.action, "status": event.to_status.value},
        )


def trial_message(name: str, tenant: str, number: str, at: datetime) -> Message:
    """Return a message without a task, to test a receiver."""
    action = "subscription-test"
    envelope = {
        "version": VERSION,
        "action": action,
        "id": name,
        "pk": f"TASK#{tenant}",
        "sk": f"{action}#{number}",
        "table": TABLE,
        "tenantCode": tenant,
        "content": {"status": "COMPLETED", "attributes": {}},
        "eventId": f"test-{number}",
        "taskId": number,
        "parentId": None,
        "type": action,
        "kind": TaskKind.TASK.value,
        "attempt": 0,
        "from": None,
        "at": at.isoformat(),
    }
    words = {"action": action, "status": "COMPLETED"}
    return Message(f"test-{number}", envelope, tenant, action, number, words)


def _attributes(one: Notification) -> dict[str, Any]:
    """Return the attributes of the task, with its result or error."""
    found = dict(one.attributes)
    if one.result is not None:
        found["result"] = one.result
    detail = one.event.detail
    if "error" in detail:
        found["error"] = {"type": detail["error"], "message": detail.get("message", "")}
    return found


def _task(one: Notification) -> TaskEntity:
    """Return the values of the task that its key consists of."""
    return TaskEntity(
        id=one.event.task_id,
        tenant=one.event.tenant,
        type=one.type,
        kind=one.kind,
        status=one.event.to_status,
        parent_id=one.parent_id,
        position=one.position,
        created_at=one.event.at,
        updated_at=one.event.at,
    )
