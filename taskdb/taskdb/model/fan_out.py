"""A fan-out: one parent, its parts, and the policy that derives its end from theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, get_args

from taskdb.errors import Fault, did_you_mean
from taskdb.model.bounds import LONGEST, shown
from taskdb.model.status import TERMINAL, TaskStatus

Join = Literal["all_succeeded", "all_settled", "fail_fast"]
"""The condition under which the parent succeeds.

`all_succeeded`: every part has COMPLETED. `all_settled`: every part has ended, well or badly.
`fail_fast`: as `all_succeeded`; once that is impossible, the open parts are canceled.
"""

CHUNK_LIMIT = 1_000
_MOST = 2**31 - 1
"""The largest number of parts in a limit."""
WINDOW = "window"
"""`held_by` of a part that the window of its parent holds."""
HANDLER_POSITION = 1_000_000_000
"""The first position of a handler; every part has a lower one."""


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A handler, with everything that is needed to create its task without the user's code."""

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
    """The number of parts of a fan-out by status."""

    by_status: Mapping[TaskStatus, int] = field(default_factory=dict)
    held: int = 0

    @property
    def total(self) -> int:
        return sum(self.by_status.values())

    @property
    def done(self) -> int:
        """The number of ended parts."""
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
        """Return the result of a parent without a handler."""
        return {
            "total": self.total,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "canceled": self.canceled,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """The policy of a fan-out, as the user declares it: how its parts run and join.

    `tolerate` is the most parts that may end badly: a number, or a share of all parts below 1.
    At most `max_concurrency` parts are published at a time; the others are held. After `timeout`
    (timedelta or seconds, for the whole fan-out) the open parts are canceled and the parent is
    FAILED. `chunk_size` parts share one message. `on_join` names the task type that runs when the
    parts have ended well; its result becomes the result of the parent.
    """

    join: Join = "all_succeeded"
    tolerate: float | None = None
    max_concurrency: int | None = None
    timeout: timedelta | float | None = None
    chunk_size: int = 1
    on_join: Any = None

    def faults(self) -> list[Fault]:
        """Return the faults of the options."""
        found = []
        if self.join not in get_args(Join):
            known = get_args(Join)
            hint = did_you_mean(shown(self.join), known)
            found.append(Fault("join", f"one of {', '.join(known)}{hint}"))
        if self.tolerate is not None and not _is_tolerance(self.tolerate):
            advice = f"{shown(self.tolerate)} is neither a number of parts nor a share from 0 to 1"
            found.append(Fault("tolerate", advice))
        elif self.tolerate is not None and self.join == "all_settled":
            found.append(Fault("tolerate", "all_settled tolerates every end: pass one of the two"))
        if self.max_concurrency is not None and not _is_count(self.max_concurrency):
            found.append(Fault("max_concurrency", "a whole number of 1 or more"))
        if not _is_count(self.chunk_size) or self.chunk_size > CHUNK_LIMIT:
            found.append(Fault("chunk_size", f"a whole number from 1 to {CHUNK_LIMIT:,}"))
        elif self.chunk_size > 1 and self.max_concurrency is not None:
            advice = "the parts of a chunk run one after another: leave max_concurrency out"
            found.append(Fault("chunk_size", advice))
        if self.timeout is not None and seconds_of(self.timeout) is None:
            found.append(Fault("timeout", f"{shown(self.timeout)} is not a duration above zero"))
        return found

    def spec(self, part_type: str, on_join: HandlerSpec | None) -> FanOutSpec:
        """Return the values that are stored in the row of the parent."""
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
    """The policy of a fan-out, as the row of the parent stores it."""

    part_type: str
    join: Join = "all_succeeded"
    tolerate: float | None = None
    max_concurrency: int | None = None
    timeout: float | None = None
    chunk_size: int = 1
    on_join: HandlerSpec | None = None
    part_mutex: tuple[str, ...] = ()

    def has_succeeded(self, counts: Counts) -> bool:
        """Return whether the parent succeeds. No part may be open."""
        return self.join == "all_settled" or counts.total - counts.succeeded <= self.allowed(
            counts.total
        )

    def is_hopeless(self, counts: Counts) -> bool:
        """Return whether the parent fails, independent of the open parts."""
        bad = counts.failed + counts.canceled
        return self.join != "all_settled" and bad > self.allowed(counts.total)

    def allowed(self, total: int) -> int:
        """Return how many parts may end badly."""
        if self.tolerate is None:
            return 0
        if isinstance(self.tolerate, int):
            return self.tolerate
        # 0.29 of 100 is 29, although the product of the floats is slightly less.
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
            }
        )


def seconds_of(duration: Any) -> float | None:
    """Return the seconds of a timedelta or number above zero; None for any other value."""
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
