"""A rule for the tasks of a queue, a type or a tenant: a pause, a limit, or both."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from taskdb.model.bounds import as_duration, shown

GateTarget = Literal["queue", "type", "tenant"]
"""What a rule is made for."""
GateOwner = Literal["operator", "tenant"]
"""Whose rule it is: the operator's, or that of the tenant for which it is made."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many tasks run at once, over all workers; how many begin in any stretch of time `per`.

    None: any number. Raises ValueError for numbers below one, and for half of a pair.
    """

    max_running: int | None = None
    max_starts: int | None = None
    per: timedelta | None = None

    def __post_init__(self) -> None:
        for name in ("max_running", "max_starts"):
            value: Any = getattr(self, name)
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (is_whole and 0 < value < 2**31):
                message = f"{name}={shown(value)} is no number of tasks: give one from 1 up"
                raise ValueError(message)
        if (self.max_starts is None) != (self.per is None):
            message = "max_starts and per go together: so many starts in such a time"
            raise ValueError(message)
        if self.per is not None and not as_duration(self.per, "per") > timedelta(0):
            message = f"per={self.per} must be longer than zero"
            raise ValueError(message)
        if self.max_running is None and self.max_starts is None:
            message = "a limit says max_running, or max_starts and per"
            raise ValueError(message)

    @classmethod
    def of(
        cls,
        max_running: int | None,
        max_starts: int | None,
        per: timedelta | float | None,
    ) -> Self | None:
        """A limit, or None where nothing is limited; `per` may be seconds.

        Raises ValueError, and TypeError for a `per` that is no duration.
        """
        if max_running is None and max_starts is None and per is None:
            return None
        window = None if per is None else as_duration(per, "per")
        return cls(max_running, max_starts, window)


@dataclass(frozen=True, slots=True)
class Gate:
    """What holds for one queue, type or tenant, and who said so.

    `origin` is that of the limit: `person`, or `code` where a task type declares it. A tenant may
    have a rule of its own beside the operator's, and both hold. A client of some tenants sees that
    the operator's holds, and neither its reason nor who set it.
    """

    target: GateTarget
    name: str
    is_paused: bool
    limit: Limit | None
    origin: Literal["person", "code"]
    reason: str | None = None
    set_by: str | None = None
    set_at: datetime | None = None
    owner: GateOwner = "operator"
