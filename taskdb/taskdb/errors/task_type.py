"""Errors about task types and sequences, as they are registered in this process."""

from __future__ import annotations

from collections.abc import Iterable

from taskdb.errors.taskdb_error import TaskDBError, did_you_mean


class UnknownTaskType(TaskDBError, LookupError):
    """No task type of this name is registered in this process."""

    page = "reference/command-line.md#taskdb-types"
    code = "TASK_TYPE_NOT_FOUND"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(f"no task type is named {name!r}{_advice(name, self.known)}")


class SequenceNotFound(TaskDBError, LookupError):
    """No sequence of this name is registered in this process."""

    page = "how-to/run-a-sequence.md"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(f"no sequence is named {name!r}{_advice(name, self.known)}")


class TaskAlreadyRegistered(TaskDBError):
    """Two handlers were registered under one name."""

    page = "reference/command-line.md#taskdb-types"

    def __init__(self, name: str, first: str, second: str) -> None:
        self.name = name
        self.first = first
        self.second = second
        super().__init__(
            f"task type {name!r} is registered twice, by {first} and by {second}: rename one"
        )


class TaskNotSubmitted(TaskDBError):
    """A task type was called as a plain Celery task, which has no row. Nothing was published."""

    page = "how-to/come-from-plain-celery.md"

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name
        super().__init__(
            f"{type_name!r} is a task type: a worker runs it from its row, and `delay`, "
            "`apply_async`, `apply`, `send_task`, chains and groups of Celery create no row. Call "
            f"submit_task({type_name!r}, input), submit_fan_out or submit_sequence"
        )


def _advice(name: str, known: tuple[str, ...]) -> str:
    return (
        f"{did_you_mean(name, known)}. Registered: {', '.join(known) or 'none'}. Name the module "
        "that defines it in TASKDB_TASK_MODULES"
    )
