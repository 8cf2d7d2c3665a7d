"""Errors about targets of notifications and alarms."""

from __future__ import annotations

from datetime import timedelta

from taskdb.errors.taskdb_error import TaskDBError


class TargetRefused(TaskDBError, ValueError):
    """Nothing is sent to this target: it is malformed, or not on the public network."""

    page = "how-to/get-notified.md"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"this target is refused: {reason}")


class DeliveryFailed(TaskDBError):
    """A target did not accept a message. Another attempt is useful unless `is_final`."""

    page = "how-to/get-notified.md"

    def __init__(
        self, reason: str, *, is_final: bool = False, retry_after: timedelta | None = None
    ) -> None:
        self.reason = reason
        self.is_final = is_final
        self.retry_after = retry_after
        super().__init__(f"not delivered: {reason}")
