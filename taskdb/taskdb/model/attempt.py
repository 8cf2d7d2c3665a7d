"""The attempts of a task, read from its history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from taskdb.model.entity import Attempt, TaskEvent
from taskdb.model.status import RUNNING, TaskStatus


def attempts_of(events: Iterable[TaskEvent]) -> list[Attempt]:
    """Return one entry per run of the body, oldest first, from events in order."""
    found: list[Attempt] = []
    for event in events:
        if event.to_status is TaskStatus.STARTED and event.from_status is not TaskStatus.STARTED:
            found.append(Attempt(event.attempt, event.worker, event.at, None, TaskStatus.STARTED))
        elif event.from_status is event.to_status and _is_of_earlier(found, event):
            found = [_explained(one, event) for one in found]
        elif found and event.from_status in RUNNING and found[-1].ended_at is None:
            found[-1] = _after(found[-1], event)
    return found


def _after(attempt: Attempt, event: TaskEvent) -> Attempt:
    ended_at = None if event.to_status in RUNNING else event.at
    return replace(attempt, status=event.to_status, ended_at=ended_at, detail=event.detail)


def _is_of_earlier(found: Sequence[Attempt], event: TaskEvent) -> bool:
    return any(_lacks(one, event) for one in found)


def _lacks(attempt: Attempt, event: TaskEvent) -> bool:
    is_over = attempt.ended_at is not None and not attempt.detail
    return is_over and attempt.number == event.attempt


def _explained(attempt: Attempt, event: TaskEvent) -> Attempt:
    """Return the attempt with the error that was recorded after the next one had started."""
    if not _lacks(attempt, event):
        return attempt
    return replace(attempt, worker=attempt.worker or event.worker, detail=event.detail)
