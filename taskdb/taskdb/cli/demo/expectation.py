"""The expected ends of the tasks of the demonstration, and the differences from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from taskdb.model.entity import TaskEntity
from taskdb.model.fan_out import Counts
from taskdb.model.status import TaskStatus

_NO_PARTS = Counts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One task of the demonstration, and how it must end.

    `result` names values that the result must contain; `error` is the name of the exception; it
    starts `delay` after its submit; `parts` is how many parts must all have COMPLETED.
    """

    title: str
    type: str = ""
    input: Mapping[str, Any] = field(default_factory=dict)
    delay: timedelta | None = None
    status: TaskStatus = TaskStatus.COMPLETED
    attempts: int = 1
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    parts: int = 0


def differences(expected: Expectation, task: TaskEntity, counts: Counts = _NO_PARTS) -> list[str]:
    """Return one line for each difference. `counts` are those of the parts."""
    return [f"{expected.title}: {line}" for line in _differences(expected, task, counts)]


def _differences(expected: Expectation, task: TaskEntity, counts: Counts) -> Iterator[str]:
    if task.status is not expected.status:
        yield f"is {task.status}, should be {expected.status}"
    if task.attempts_used != expected.attempts:
        yield f"took {task.attempts_used} attempts, should take {expected.attempts}"
    error = None if task.error is None else task.error.type.rpartition(".")[2]
    if expected.status is TaskStatus.FAILED and error != expected.error:
        yield f"failed with {error}, should fail with {expected.error}"
    found = task.result if isinstance(task.result, Mapping) else {}
    for name, value in expected.result.items():
        if found.get(name) != value:
            yield f"result {name} is {found.get(name)!r}, should be {value!r}"
    waited = (task.started_at or task.updated_at) - task.created_at
    if expected.delay is not None and waited < expected.delay:
        yield f"began after {waited.total_seconds():.2f} s, should wait {expected.delay}"
    if counts.total != expected.parts:
        yield f"has {counts.total} parts, should have {expected.parts}"
    if counts.succeeded != counts.total:
        yield f"{counts.succeeded} of {counts.total} parts succeeded, all should"
