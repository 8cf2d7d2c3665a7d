"""What a body may say about its own end, beside returning a value or raising.

Each may be returned or raised: ``return Snooze(minutes)`` and ``raise Snooze(minutes)`` are the
same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskdb.model.bounds import as_duration


class Outcome(Exception):
    """The base of the outcomes below."""


class Fail(Outcome):
    """The task is FAILED now, whatever attempts are left."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Halt(Outcome):
    """The task is HALTED: a person must look, and `retry_task` lets it go on."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Cancel(Outcome):
    """The task is CANCELED."""

    def __init__(self, reason: str = "canceled by its own body") -> None:
        self.reason = reason
        super().__init__(reason)


class Snooze(Outcome):
    """The task runs again after a delay; this run burns no attempt and makes no noise.

    `delay` is a timedelta, or seconds. Raises ValueError for a negative one.
    """

    def __init__(self, delay: timedelta | float, reason: str = "") -> None:
        try:
            self.delay = as_duration(delay, "delay")
        except (TypeError, ValueError) as error:
            message = f"cannot snooze: {error}"
            raise ValueError(message) from None
        self.reason = reason
        super().__init__(delay, reason)


RetryLater = Snooze
"""The same, under the name that other systems give it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a body said beside its outcome; written with whatever row is written next.

    None leaves what the row has; `attributes` replaces the whole object.
    """

    attributes: dict[str, Any] | None = None
    current: int | None = None
    total: int | None = None
    message: str | None = None


NO_REPORT = Report()
