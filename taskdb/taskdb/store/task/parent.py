"""A locked parent, with the columns that its decisions read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taskdb.model.entity import TaskKind, TaskRole
from taskdb.model.status import TaskStatus
from taskdb.store.engine.types import as_json
from taskdb.store.task.row import ValueReader


@dataclass(frozen=True, slots=True)
class Parent:
    """A locked parent. A JSON value of its row that cannot be read raises ValueError."""

    id: str
    tenant: str
    type: str
    name: str
    kind: TaskKind
    role: TaskRole | None
    status: TaskStatus
    spec: dict[str, Any]
    waits_for: str | None
    parent_id: str | None
    position: int | None
    input: Any
    input_ref: str | None
    result: Any
    result_ref: str | None
    error: dict[str, Any] | None
    attempt: int
    claim_token: str | None
    queue: str
    priority: int
    request_id: str | None
    created_by: str | None
    created_ip: str | None
    cancel_requested_at: datetime | None
    called_back: str | None
    trace: str | None

    @property
    def is_cancel_wanted(self) -> bool:
        """Whether a cancel waits for its sub-tasks."""
        return self.cancel_requested_at is not None


PARENT = ValueReader(
    Parent,
    spec=lambda stored: as_json(stored) or {},
    input=as_json,
    result=as_json,
    error=as_json,
)
