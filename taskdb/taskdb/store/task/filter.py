"""The conditions of a list of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from taskdb.model.entity import TaskKind, TaskRole
from taskdb.model.status import TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """The conditions of a list, a bulk cancel or a bulk retry; None means any value."""

    tenant: str | None = None
    type: str | None = None
    status: tuple[TaskStatus, ...] = ()
    kind: TaskKind | None = None
    role: TaskRole | None = None
    parent_id: str | None = None
    queue: str | None = None
    tag: str | None = None
    unique_key: str | None = None
    request_id: str | None = None
    created_by: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    search: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    with_sub_tasks: bool = False
    adopted: bool | None = None

    def is_empty(self) -> bool:
        """Return whether no condition was given."""
        return self == Filter(with_sub_tasks=self.with_sub_tasks)
