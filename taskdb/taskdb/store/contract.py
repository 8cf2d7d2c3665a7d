"""The values that the store takes and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import clipped
from taskdb.model.entity import TaskError, TaskKind, TaskRole
from taskdb.model.status import TaskStatus

OnConflict = Literal["resubmit", "keep", "new"]
"""The effect of a submit when a task with its unique key exists.

`resubmit`: a FAILED, HALTED or SCHEDULED task is created again with the input and every option of
the new submit. A FAILED tree with the same input continues where it failed, with the new options;
with another input it gives its key to a new task. Any other task is returned unchanged. `keep`:
the task is returned unchanged. `new`: a terminal task loses its key and a new task is created; any
other task is returned unchanged.
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """The tenants whose tasks a call may see; None: every tenant.

    A verb of the store that acts for a caller takes a scope. Its statement checks it.
    """

    tenants: tuple[str, ...] | None = None

    def allows(self, tenant: str) -> bool:
        return self.tenants is None or tenant in self.tenants

    def require(self, tenant: str | None) -> None:
        """Raise InvalidInput for a tenant out of the scope; None means every tenant."""
        if self.tenants is None or (tenant is not None and tenant in self.tenants):
            return
        found = "every tenant" if tenant is None else f"tenant {clipped(tenant)!r}"
        raise InvalidInput("the request", [Fault("tenant", f"{found} is out of the scope")])


EVERYONE = Scope()
"""The scope of the operator, of workers and of loops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A task to insert. The caller chooses the id, and so knows it before the commit."""

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
    input_text: str | None = None
    """The input as JSON text, where it has been encoded already."""
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
    """The data from which the message of one row is made, and the fence `relay_at`.

    `relay_at` changes whenever the row becomes publishable again. A mark that comes late does not
    match it, and so does not set a row to QUEUED whose message has been consumed in the meantime.
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
    """The trace that the message continues: `traceparent` of W3C, a space, and `tracestate`."""
    attempt: int = 0
    """The number of attempts that the row has had."""

    @property
    def group(self) -> str | None:
        """The id of the fan-out that this row is a part of; None for other roles."""
        return self.parent_id if self.role is TaskRole.PART else None


@dataclass(frozen=True, slots=True)
class Claim:
    """The result of a claim by a worker.

    `granted`: whether the body may run. `status`: the status of the row; None where there is no
    row. The other fields serve the run, or the result that a duplicate message gets.
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
    """The callback has come already, so the body need not run."""
    needs_admission: bool = False
    queue: str = ""
    trace: str | None = None
    wait_queues: tuple[str, ...] = ()
    """The wait queues whose tasks may wait for the slots that this task frees at its end."""

    @property
    def attempts_used(self) -> int:
        """The number of attempts that count against the retry budget, with this run."""
        return self.attempt - self.spared - self.crashes
