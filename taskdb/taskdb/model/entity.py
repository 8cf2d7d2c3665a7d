"""A task as a value: what a row says, read once and never changed."""

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
    """What a task is made of."""

    TASK = "TASK"
    FAN_OUT = "FAN_OUT"
    SEQUENCE = "SEQUENCE"


class TaskRole(StrEnum):
    """What a sub-task is to its parent."""

    PART = "part"
    STEP = "step"
    HANDLER = "handler"


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why an attempt did not succeed.

    `type` is the qualified name of the exception, `attempt` the run that raised it. `traceback`
    is empty where there was no Python frame to show (a killed process, an expiry). `trace` leads to
    the span of the run, where traces are taken.
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
    """How far a body says it is; `total` is None where it does not know."""

    current: int
    total: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One line of the history: a move, or a remark on a task that did not move.

    `from_status` is None for the creation. Events of one task are in order of `id`.
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
    """One run of the body, as the history tells it.

    `status` is what the run led to, STARTED or PROCESSING while it goes on.
    """

    number: int
    worker: str | None
    started_at: datetime
    ended_at: datetime | None
    status: TaskStatus
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SubTaskResult:
    """How one part, step or handler stands; `result` is None until it has one."""

    position: int
    task_id: str
    name: str
    status: TaskStatus
    result: Any = None
    error: TaskError | None = None


Side = Literal["input", "result"]
"""Which payload of a task."""


class TaskReader(Protocol):
    """What an entity needs of the client that it came from."""

    def get_task(self, reference: str) -> TaskEntity:
        """The task as it is now; raises TaskNotFound."""

    def wait(self, reference: str, timeout: float | None) -> TaskEntity:
        """The task once it has settled; raises WaitTimeout."""

    def read_payload(self, reference: str, side: Side) -> Any:
        """The input or the result of a task; raises TaskNotFound, PayloadMissing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEntity:
    """One persisted piece of work. Immutable: `refresh()` answers a new one."""

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
    """A task of a Celery app that is only watched: nothing here runs, moves or publishes it."""
    notify_id: str | None = None

    spec: Mapping[str, Any] | None = field(default=None, repr=False)
    inline_input: Any = field(default=None, repr=False)
    inline_result: Any = field(default=None, repr=False)
    input_ref: str | None = field(default=None, repr=False)
    result_ref: str | None = field(default=None, repr=False)
    reader: TaskReader | None = field(default=None, repr=False, compare=False)

    @property
    def input(self) -> Any:
        """The input as JSON values; fetched from the payload store when it is large."""
        return self._payload("input", self.inline_input, self.input_ref)

    @property
    def result(self) -> Any:
        """What the body returned, as JSON values; None until then, and for a body without one."""
        return self._payload("result", self.inline_result, self.result_ref)

    @property
    def code(self) -> str:
        """The ULID spelling of the id: 26 characters, in order of creation."""
        return str(ULID.from_uuid(UUID(self.id)))

    @property
    def pk(self) -> str:
        """The partition key: tasks of one tenant, multi-part ones apart."""
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
        """`pk#sk`, which `get_task` takes as well as the id and the code."""
        return f"{self.pk}#{self.sk}"

    @property
    def attempts_used(self) -> int:
        """How much of the retry budget is spent; a crash is counted in `crashes` alone."""
        return self.attempt - self.spared - self.crashes

    def as_sub_task(self) -> SubTaskResult:
        """How it stands, for who looks at its parent."""
        return SubTaskResult(
            position=self.position or 0,
            task_id=self.id,
            name=self.name,
            status=self.status,
            result=self.result if self.status is TaskStatus.COMPLETED else None,
            error=self.error,
        )

    def refresh(self) -> TaskEntity:
        """The task as it is now."""
        return self._reader().get_task(self.id)

    def wait(self, timeout: float | None = None) -> TaskEntity:
        """Block until the task has settled (terminal, or HALTED), and answer it.

        `timeout` is in seconds, None waits for ever. Raises WaitTimeout.
        """
        return self._reader().wait(self.id, timeout)

    def _payload(self, side: Side, inline: Any, reference: str | None) -> Any:
        return inline if reference is None else self._reader().read_payload(self.id, side)

    def _reader(self) -> TaskReader:
        if self.reader is None:
            message = "this TaskEntity was not read through a TaskDB: use TaskDB.get_task"
            raise RuntimeError(message)
        return self.reader
