"""Errors about schedules."""

from __future__ import annotations

from taskdb.errors.taskdb_error import TaskDBError


class ScheduleNotFound(TaskDBError, LookupError):
    """No schedule has this name or id, or it belongs to a tenant outside this scope."""

    page = "how-to/run-on-a-schedule.md"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(
            f"no schedule {reference!r}: pass its name or id (`taskdb schedule list` shows them). "
            "Schedules of other tenants are not found"
        )


class ScheduleExists(TaskDBError):
    """A schedule of this name exists. Nothing was changed."""

    page = "how-to/run-on-a-schedule.md"

    def __init__(self, name: str, origin: str) -> None:
        self.name = name
        self.origin = origin
        advice = (
            "replace it (replace=True, --replace) or choose another name"
            if origin == "person"
            else f"it is declared ({origin}): change it there, or choose another name"
        )
        super().__init__(f"a schedule named {name!r} exists: {advice}")
