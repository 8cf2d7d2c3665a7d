"""The outcomes that a body can choose, beside returning a value or raising an error.

Each may be returned or raised: ``return Snooze(minutes)`` and ``raise Snooze(minutes)`` are equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskdb.model.bounds import as_duration


class Outcome(Exception):
    """The base of the outcomes below."""


class Fail(Outcome):
    """The task is FAILED now, even if attempts are left."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Halt(Outcome):
    """The task is HALTED until a person calls `retry_task`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Cancel(Outcome):
    """The task is CANCELED."""

    def __init__(self, reason: str = "canceled by its own body") -> None:
        self.reason = reason
        super().__init__(reason)


class Snooze(Outcome):
    """The task runs again after a delay. This run does not count as an attempt or a failure.

    `delay` is a timedelta, or seconds. Raises ValueError for a negative one.
    """

    def __init__(self, delay: timedelta | float, reason: str = "") -> None:
        try:
            self.delay = as_duration(delay, "delay")
        except (TypeError, ValueError) as error:
            raise ValueError(f"cannot snooze: {error}") from None
        self.reason = reason
        super().__init__(delay, reason)


RetryLater = Snooze
"""The name of `Snooze` in other systems."""


@dataclass(frozen=True, slots=True)
class Report:
    """Progress and attributes of a body, written with its next report or outcome.

    None leaves the value of the row; `attributes` replaces the whole object.
    """

    attributes: dict[str, Any] | None = None
    current: int | None = None
    total: int | None = None
    message: str | None = None


NO_REPORT = Report()
