"""Errors about alarms."""

from __future__ import annotations

from taskdb.errors.taskdb_error import TaskDBError


class AlarmNotFound(TaskDBError, LookupError):
    """No alarm has this id or fingerprint, or it is outside this scope."""

    page = "how-to/alarms.md"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(
            f"no alarm {reference!r}: `taskdb alarm list` shows the ids. Only the operator sees "
            "alarms that count the failures of all tenants together"
        )
