"""A limit, a pause, or both, on the tasks of a queue, a type or a tenant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from taskdb.model.bounds import as_duration, shown

LimitTarget = Literal["queue", "type", "tenant"]
"""The kind of thing that is limited."""
LimitOwner = Literal["operator", "tenant"]
"""The owner: the operator, or the tenant that is limited."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many tasks run at once over all workers, and how many start in any period `per`.

    None means any number. Raises ValueError for a number below one, and for `max_starts` without
    `per`.
    """

    max_running: int | None = None
    max_starts: int | None = None
    per: timedelta | None = None

    def __post_init__(self) -> None:
        for name in ("max_running", "max_starts"):
            value: Any = getattr(self, name)
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (is_whole and 0 < value < 2**31):
                raise ValueError(f"{name}={shown(value)} is not a number of tasks: pass 1 or more")
        if (self.max_starts is None) != (self.per is None):
            raise ValueError("max_starts and per belong together: pass both")
        if self.per is not None and not as_duration(self.per, "per") > timedelta(0):
            raise ValueError(f"per={self.per} must be longer than zero")
        if self.max_running is None and self.max_starts is None:
            raise ValueError("pass max_running, or max_starts and per")

    @classmethod
    def of(
        cls, max_running: int | None, max_starts: int | None, per: timedelta | float | None
    ) -> Self | None:
        """Return a limit, or None if nothing is limited. `per` may be seconds.

        Raises ValueError, and TypeError for a `per` that is not a duration.
        """
        if max_running is None and max_starts is None and per is None:
            return None
        window = None if per is None else as_duration(per, "per")
        return cls(max_running, max_starts, window)


@dataclass(frozen=True, slots=True)
class LimitEntity:
    """The limit and the pause of one queue, type or tenant, and its author.

    `origin` is the origin of the limit: `person`, or `code` if a task type declares it. A tenant
    may have its own limit beside the operator's; both apply. A client of some tenants sees that a
    limit of the operator applies, but not its reason or its author.
    """

    target: LimitTarget
    name: str
    is_paused: bool
    limit: Limit | None
    origin: Literal["person", "code"]
    reason: str | None = None
    set_by: str | None = None
    set_at: datetime | None = None
    owner: LimitOwner = "operator"
