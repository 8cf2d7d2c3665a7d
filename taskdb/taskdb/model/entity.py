"""A task as a value: a snapshot of its row, which never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol
from uuid import UUID

from ulid import ULID

from taskdb.model.status import TaskStatus


class TaskKind(StrEnum):
    """The structure of a task."""

    TASK = "TASK"
    FAN_OUT = "FAN_OUT"
    SEQUENCE = "SEQUENCE"


class TaskRole(StrEnum):
    """The role of a sub-task under its parent."""

    PART = "part"
    STEP = "step"
    HANDLER = "handler"


@dataclass(frozen=True, slots=True)
class TaskError:
    """The reason why an attempt did not succeed.

    `type` is the qualified name of the exception, `attempt` the run that raised it. `traceback`
    is empty without a Python frame (a killed process, an expiry). `trace` identifies the span of
    the run, where traces are recorded.
    """

    type: str
    message: str
    traceback: str = ""
    attempt: int = 0
    trace: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "message": self.message,
            "traceback": self.traceback,
            "attempt": self.attempt,
            **({"trace": self.trace} if self.trace else {}),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TaskError:
        return cls(
            type=str(stored.get("type", "")),
            message=str(stored.get("message", "")),
            traceback=str(stored.get("traceback", "")),
            attempt=int(stored.get("attempt", 0)),
            trace=str(stored.get("trace", "")),
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress that a body has reported; `total` is None where it is unknown."""

    current: int
    total: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One history row: a move, or a remark on a task that did not move.

    `from_status` is None for the creation. Events of one task are ordered by `id`.
    """

    id: int
    task_id: str
    tenant: str
    from_status: TaskStatus | None
    to_status: TaskStatus
    attempt: int
    worker: str | None
    at: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of the body, read from the history.

    `status` is the status that the run led to; STARTED or PROCESSING while it runs.
    """

    number: int
    worker: str | None
    started_at: datetime
    ended_at: datetime | None
    status: TaskStatus
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SubTaskResult:
    """The state of one part, step or handler; `result` is None until it has one."""

    position: int
    task_id: str
    name: str
    status: TaskStatus
    result: Any = None
    error: TaskError | None = None


Side = Literal["input", "result"]
"""One of the two payloads of a task."""


class TaskReader(Protocol):
    """The methods of a client that an entity uses."""

    def get_task(self, reference: str) -> TaskEntity:
        """Return the task as it is now. Raises TaskNotFound."""

    def wait_task(self, reference: str, timeout: float | None) -> TaskEntity:
        """Return the task once it has settled. Raises WaitTimeout."""

    def read_payload(self, reference: str, side: Side) -> Any:
        """Return the input or the result of a task. Raises TaskNotFound, PayloadMissing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEntity:
    """One persisted piece of work. Immutable: `refresh()` returns a new one."""

    id: str
    tenant: str
    type: str
    kind: TaskKind = TaskKind.TASK
    role: TaskRole | None = None
    name: str = ""
    status: TaskStatus
    queue: str = ""
    priority: int = 5
    error: TaskError | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    progress: Progress | None = None
    attempt: int = 0
    spared: int = 0
    crashes: int = 0
    max_attempts: int | None = None
    unique_key: str | None = None
    parent_id: str | None = None
    position: int | None = None
    worker: str | None = None
    waits_for: str | None = None
    held_by: str | None = None
    request_id: str | None = None
    created_by: str | None = None
    created_ip: str | None = None
    created_at: datetime
    updated_at: datetime
    run_at: datetime | None = None
    deadline_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    is_adopted: bool = False
    """It belongs to a Celery app that is only watched. This package does not run or move it."""
    notify_id: str | None = None

    spec: Mapping[str, Any] | None = field(default=None, repr=False)
    inline_input: Any = field(default=None, repr=False)
    inline_result: Any = field(default=None, repr=False)
    input_ref: str | None = field(default=None, repr=False)
    result_ref: str | None = field(default=None, repr=False)
    reader: TaskReader | None = field(default=None, repr=False, compare=False)

    @property
    def input(self) -> Any:
        """The input as JSON values, read from the payload store if it is large."""
        return self._payload("input", self.inline_input, self.input_ref)

    @property
    def result(self) -> Any:
        """The result of the body as JSON values; None until it has ended."""
        return self._payload("result", self.inline_result, self.result_ref)

    @property
    def code(self) -> str:
        """The id as a ULID: 26 characters, in order of creation."""
        return str(ULID.from_uuid(UUID(self.id)))

    @property
    def pk(self) -> str:
        """The partition key: one per tenant, another for its tasks with sub-tasks."""
        prefix = "TASK" if self.kind is TaskKind.TASK and self.parent_id is None else "SFN_TASK"
        return f"{prefix}#{self.tenant}"

    @property
    def sk(self) -> str:
        """The sort key: `type#code`, or `parent code#position` for a sub-task.

        The position is padded to ten digits, so that text sorts as numbers do.
        """
        if self.parent_id is None:
            return f"{self.type}#{self.code}"
        parent = ULID.from_uuid(UUID(self.parent_id))
        return f"{parent}#{self.position or 0:010d}"

    @property
    def key(self) -> str:
        """`pk#sk`, which `get_task` accepts beside the id and the code."""
        return f"{self.pk}#{self.sk}"

    @property
    def attempts_used(self) -> int:
        """The spent part of the retry budget. A crash counts in `crashes` only."""
        return self.attempt - self.spared - self.crashes

    def as_sub_task(self) -> SubTaskResult:
        """Return its state, as a part of its parent."""
        return SubTaskResult(
            position=self.position or 0,
            task_id=self.id,
            name=self.name,
            status=self.status,
            result=self.result if self.status is TaskStatus.COMPLETED else None,
            error=self.error,
        )

    def refresh(self) -> TaskEntity:
        """Return the task as it is now."""
        return self._reader().get_task(self.id)

    def wait(self, timeout: float | None = None) -> TaskEntity:
        """Block until the task has settled (terminal, or HALTED). Returns the settled task.

        `timeout` is in seconds; None waits for ever. Raises WaitTimeout.
        """
        return self._reader().wait_task(self.id, timeout)

    def _payload(self, side: Side, inline: Any, reference: str | None) -> Any:
        return inline if reference is None else self._reader().read_payload(self.id, side)

    def _reader(self) -> TaskReader:
        if self.reader is None:
            raise RuntimeError("this TaskEntity was not read through a TaskDB: use TaskDB.get_task")
        return self.reader
