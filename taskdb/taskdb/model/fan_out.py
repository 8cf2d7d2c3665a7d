"""A fan-out: one parent, its parts, and the policy by which they decide its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, get_args

from taskdb.errors import Fault, did_you_mean
from taskdb.model.bounds import LONGEST, shown
from taskdb.model.status import TERMINAL, TaskStatus

Join = Literal["all_succeeded", "all_settled", "fail_fast"]
"""When the parts have ended well.

`all_succeeded`: every part did. `all_settled`: every part is over, however it ended. `fail_fast`:
as the first, and once it is out of reach the open parts are canceled.
"""

CHUNK_LIMIT = 1_000
_MOST = 2**31 - 1
"""Parts that a limit may name."""
WINDOW = "window"
"""`held_by` of a part that its parent's window does not let go yet."""
HANDLER_POSITION = 1_000_000_000
"""Positions from here on are those of handlers, so that no part has the same."""


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A handler as its parent's row keeps it: enough to make its task without its code."""

    type: str
    queue: str
    priority: int
    mutex: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "queue": self.queue,
            "priority": self.priority,
            "mutex": list(self.mutex),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> HandlerSpec:
        mutex = tuple(stored.get("mutex", ()))
        return cls(stored["type"], stored["queue"], stored["priority"], mutex)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many parts of a fan-out are where."""

    by_status: Mapping[TaskStatus, int] = field(default_factory=dict)
    held: int = 0

    @property
    def total(self) -> int:
        return sum(self.by_status.values())

    @property
    def done(self) -> int:
        """Over, however they ended."""
        return sum(number for status, number in self.by_status.items() if status in TERMINAL)

    @property
    def open(self) -> int:
        return self.total - self.done

    @property
    def succeeded(self) -> int:
        return self.by_status.get(TaskStatus.COMPLETED, 0)

    @property
    def failed(self) -> int:
        return self.by_status.get(TaskStatus.FAILED, 0)

    @property
    def canceled(self) -> int:
        return self.by_status.get(TaskStatus.CANCELED, 0)

    def as_json(self) -> dict[str, int]:
        """What a parent without a handler has for its result."""
        return {
            "total": self.total,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "canceled": self.canceled,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """How parts are run and joined, as a user says it.

    `tolerate` allows so many parts to end badly: a whole number of them, or a share of all below
    1. `max_concurrency` parts are published at a time, the others are held. `timeout` (timedelta
    or seconds) is for the whole; then what is open is canceled and the parent FAILED. `chunk_size`
    parts share one message. `on_join` names the task type that runs when the parts have ended
    well, and whose result becomes the parent's.
    """

    join: Join = "all_succeeded"
    tolerate: float | None = None
    max_concurrency: int | None = None
    timeout: timedelta | float | None = None
    chunk_size: int = 1
    on_join: Any = None

    def faults(self) -> list[Fault]:
        """What is wrong with it."""
        found = []
        if self.join not in get_args(Join):
            known = get_args(Join)
            hint = did_you_mean(shown(self.join), known)
            found.append(Fault("join", f"one of {', '.join(known)}{hint}"))
        if self.tolerate is not None and not _is_tolerance(self.tolerate):
            advice = f"{shown(self.tolerate)} is neither a number of parts nor a share from 0 to 1"
            found.append(Fault("tolerate", advice))
        elif self.tolerate is not None and self.join == "all_settled":
            found.append(Fault("tolerate", "all_settled tolerates everything: leave one out"))
        if self.max_concurrency is not None and not _is_count(self.max_concurrency):
            found.append(Fault("max_concurrency", "a whole number of 1 or more"))
        if not _is_count(self.chunk_size) or self.chunk_size > CHUNK_LIMIT:
            found.append(Fault("chunk_size", f"a whole number from 1 to {CHUNK_LIMIT:,}"))
        elif self.chunk_size > 1 and self.max_concurrency is not None:
            advice = "parts of one chunk run one after another anyway: leave max_concurrency out"
            found.append(Fault("chunk_size", advice))
        if self.timeout is not None and seconds_of(self.timeout) is None:
            found.append(Fault("timeout", f"{shown(self.timeout)} is no duration above zero"))
        return found

    def spec(self, part_type: str, on_join: HandlerSpec | None) -> FanOutSpec:
        """What the parent's row keeps."""
        return FanOutSpec(
            part_type=part_type,
            join=self.join,
            tolerate=self.tolerate,
            max_concurrency=self.max_concurrency,
            timeout=None if self.timeout is None else seconds_of(self.timeout),
            chunk_size=self.chunk_size,
            on_join=on_join,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOutSpec:
    """How parts are joined, as the parent's row keeps it."""

    part_type: str
    join: Join = "all_succeeded"
    tolerate: float | None = None
    max_concurrency: int | None = None
    timeout: float | None = None
    chunk_size: int = 1
    on_join: HandlerSpec | None = None
    part_mutex: tuple[str, ...] = ()

    def has_succeeded(self, counts: Counts) -> bool:
        """The verdict, once no part is open."""
        return self.join == "all_settled" or counts.total - counts.succeeded <= self.allowed(
            counts.total
        )

    def is_hopeless(self, counts: Counts) -> bool:
        """Whatever the open parts do, the verdict will be bad."""
        bad = counts.failed + counts.canceled
        return self.join != "all_settled" and bad > self.allowed(counts.total)

    def allowed(self, total: int) -> int:
        """How many parts may end badly."""
        if self.tolerate is None:
            return 0
        if isinstance(self.tolerate, int):
            return self.tolerate
        # 0.29 of 100 is 29, also where the product of the floats is a hair less.
        return int(self.tolerate * total + 1e-9)

    def as_json(self) -> dict[str, Any]:
        return {
            "part_type": self.part_type,
            "join": self.join,
            "tolerate": self.tolerate,
            "max_concurrency": self.max_concurrency,
            "timeout": self.timeout,
            "chunk_size": self.chunk_size,
            "on_join": self.on_join.as_json() if self.on_join else None,
            "part_mutex": list(self.part_mutex),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FanOutSpec:
        on_join = stored.get("on_join")
        return cls(
            **{
                **stored,
                "on_join": HandlerSpec.from_json(on_join) if on_join else None,
                "part_mutex": tuple(stored.get("part_mutex", ())),
            },
        )


def seconds_of(duration: Any) -> float | None:
    """A timedelta, or a number of seconds, above zero; None for anything else."""
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        return None
    return float(duration) if 0 < duration <= LONGEST.total_seconds() else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST


def _is_tolerance(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return 0 <= value <= _MOST
    return isinstance(value, float) and 0 <= value < 1
