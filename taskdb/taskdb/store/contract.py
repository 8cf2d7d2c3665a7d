"""What goes into the store and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import clipped
from taskdb.model.entity import TaskError, TaskEvent, TaskKind, TaskRole
from taskdb.model.status import TaskStatus

OnConflict = Literal["resubmit", "keep", "new"]
"""What a submit does when a task of its unique key exists.

`resubmit`: a FAILED, HALTED or SCHEDULED one is created again with the input and every option of
the new submit. A tree that FAILED goes on where it failed, with every option, if the input is the
same; else it gives its key to a new task. Any other is answered unchanged. `keep`: always answered
unchanged. `new`: a terminal one loses its key and a new task is made, any other is answered
unchanged.
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose tasks a statement may see: everyone's, or those of some tenants."""

    tenants: tuple[str, ...] | None = None

    def allows(self, tenant: str) -> bool:
        return self.tenants is None or tenant in self.tenants

    def require(self, tenant: str | None) -> None:
        """Raise InvalidInput for a tenant out of the scope; None stands for every tenant."""
        if self.tenants is None or (tenant is not None and tenant in self.tenants):
            return
        found = "every tenant" if tenant is None else f"tenant {clipped(tenant)!r}"
        raise InvalidInput("the request", [Fault("tenant", f"{found} is out of the scope")])


EVERYONE = Scope()
"""The operator's scope, and that of workers and loops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A task about to be inserted; the id is the caller's to know before the commit."""

    id: str
    tenant: str
    type: str
    kind: TaskKind = TaskKind.TASK
    role: TaskRole | None = None
    name: str
    status: TaskStatus
    queue: str
    priority: int
    input: Any
    input_ref: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    unique_key: str | None = None
    parent_id: str | None = None
    position: int | None = None
    chunk: str | None = None
    spec: Mapping[str, Any] | None = None
    held_by: str | None = None
    mutex_key: str | None = None
    request_id: str | None = None
    created_by: str | None = None
    created_ip: str | None = None
    run_at: datetime | None = None
    delay: timedelta | None = None
    deadline_at: datetime | None = None
    notify_id: str | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """What the broker must be told of one row, and the fence that a mark must meet.

    `relay_at` changes whenever a row becomes publishable anew, so that a mark which comes late
    cannot claim a message that has been consumed meanwhile.
    """

    id: str
    type: str
    queue: str
    priority: int
    relay_at: datetime
    deadline_at: datetime | None = None
    role: TaskRole | None = None
    parent_id: str | None = None
    chunk: str | None = None
    trace: str | None = None
    """What the message goes on with: W3C's `traceparent`, and after a space its `tracestate`."""
    attempt: int = 0
    """How many attempts the row has had."""

    @property
    def group(self) -> str | None:
        """The fan-out that this is a part of."""
        return self.parent_id if self.role is TaskRole.PART else None


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a worker that wants to run a task.

    `granted` tells whether the body may run; `status` is the row's (None: there is no row), and
    the rest is what the run, or the answer to a duplicate, needs.
    """

    granted: bool
    status: TaskStatus | None
    attempt: int = 0
    spared: int = 0
    crashes: int = 0
    tenant: str = ""
    type: str = ""
    input: Any = None
    input_ref: str | None = None
    result: Any = None
    result_ref: str | None = None
    error: TaskError | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    role: TaskRole | None = None
    parent_id: str | None = None
    position: int | None = None
    is_called_back: bool = False
    """The outside has answered already: the body need not run."""
    is_gated: bool = False
    queue: str = ""
    trace: str | None = None
    lines: tuple[str, ...] = ()
    """Where someone may wait for what a gated task gives back at its end."""

    @property
    def attempts_used(self) -> int:
        """How much of the retry budget is spent, this run included."""
        return self.attempt - self.spared - self.crashes


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which tasks a list, a bulk cancel or a bulk retry is about; None means any."""

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
        """No condition at all was given."""
        return self == Filter(with_sub_tasks=self.with_sub_tasks)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, and the cursor behind the last of them (the same one when there was none)."""

    events: tuple[TaskEvent, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """One boot of a worker."""

    id: str
    name: str
    host: str
    pid: int
    queues: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    release: str = ""
    started_at: datetime | None = None
    seen_at: datetime | None = None
    stopped_at: datetime | None = None
