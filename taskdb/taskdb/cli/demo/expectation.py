"""What the tasks of the demonstration must have become, and how they differ from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from taskdb.model.entity import TaskEntity
from taskdb.model.fan_out import Counts
from taskdb.model.status import TaskStatus

_NO_PARTS = Counts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """How one task must end.

    `result` names values that the result must contain; `error` is the name of the exception;
    `waited` is the least time between submit and start; `parts` is how many parts must all have
    COMPLETED.
    """

    title: str
    status: TaskStatus
    attempts: int = 1
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    waited: timedelta = timedelta(0)
    parts: int = 0


def differences(expected: Expectation, task: TaskEntity, counts: Counts = _NO_PARTS) -> list[str]:
    """A line for everything that is not as it should be; `counts` are those of its parts."""
    found = [*_differences(expected, task), *_wrong_parts(expected, counts)]
    return [f"{expected.title}: {line}" for line in found]


def all_differences(
    several: Iterable[tuple[Expectation, TaskEntity, Counts]],
) -> list[str]:
    """The differences of every task."""
    return [
        line for expected, task, counts in several for line in differences(expected, task, counts)
    ]


def _differences(expected: Expectation, task: TaskEntity) -> Iterator[str]:
    if task.status is not expected.status:
        yield f"is {task.status}, should be {expected.status}"
    if task.attempts_used != expected.attempts:
        yield f"took {task.attempts_used} attempts, should take {expected.attempts}"
    error = None if task.error is None else task.error.type.rpartition(".")[2]
    if expected.status is TaskStatus.FAILED and error != expected.error:
        yield f"failed with {error}, should fail with {expected.error}"
    yield from _wrong_results(expected.result, task.result)
    if task.started_at is not None and task.started_at - task.created_at < expected.waited:
        waited = task.started_at - task.created_at
        yield f"began after {waited.total_seconds():.2f} s, should wait {expected.waited}"


def _wrong_parts(expected: Expectation, counts: Counts) -> Iterator[str]:
    if counts.total != expected.parts:
        yield f"has {counts.total} parts, should have {expected.parts}"
    if counts.succeeded != counts.total:
        yield f"{counts.succeeded} of {counts.total} parts succeeded, all should"


def _wrong_results(expected: Mapping[str, Any], result: Any) -> Iterator[str]:
    found = result if isinstance(result, Mapping) else {}
    for name, value in expected.items():
        if found.get(name) != value:
            yield f"result {name} is {found.get(name)!r}, should be {value!r}"
