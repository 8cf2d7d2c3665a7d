"""Errors about settings."""

from __future__ import annotations

from taskdb.errors.taskdb_error import TaskDBError


class SettingsError(TaskDBError, ValueError):
    """A setting is unknown or has a wrong value."""

    page = "reference/settings.md"


class TaskModuleError(SettingsError):
    """A module named in TASKDB_TASK_MODULES cannot be imported."""

    def __init__(self, module: str, reason: str) -> None:
        self.module = module
        self.reason = reason
        super().__init__(
            f"cannot import task module {module!r} ({reason}): check TASKDB_TASK_MODULES and that "
            "the module's folder is on the Python path"
        )
