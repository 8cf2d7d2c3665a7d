"""The moves of an adopted task, derived from reports about it, without a database.

An adopted task belongs to a Celery app that this package only watches. Each process of the app
reports publishes, starts of runs and ends of runs when it has time, so the reports of one task
arrive in any order, late, twice, or never. `follow` moves a row only forward: by attempt, within
an attempt by the newest run, within a run from its start to its end. A missed state is passed
through, so that the history of an adopted task has the same moves as that of any other task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from taskdb.model.entity import TaskEntity, TaskError
from taskdb.model.status import STARTS, TERMINAL, WAITING, TaskStatus, allowed_pairs

_S = TaskStatus

UNKNOWN = -1
"""The attempt of a run whose number the report does not have."""
CELERY_ID = "celery_id"
"""The attribute with Celery's id, where that is not a UUID."""
WORKER_LOST = "WorkerLost"
"""The error of a task whose worker died, as concluded from outside."""
UNSEEN = "Unseen"
"""The error of a task without any report for too long."""
PRESUMED_EXPIRED = "PresumedExpired"
"""The error of a task that expired at the broker, which drops messages without a report."""
_GUESSES = frozenset({WORKER_LOST, UNSEEN, PRESUMED_EXPIRED})
_PASSED_RUNS = 25
"""Most history rows for runs without a report, since a message may claim any number."""


class Sight(StrEnum):
    """The kind of a report."""

    PUBLISHED = "published"
    BEGUN = "begun"
    ENDED = "ended"
    MISSED = "missed"
    """A report that should have come did not: a guess, which any report corrects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One report about one task, at a moment of the clock of its sender.

    `attempt` is the number of the run; for a publish (`ran` is false) the number of runs before;
    UNKNOWN where the sender does not know it. `token` and `began_at` identify the run that ended,
    where the sender knows them. `status` is the status that the report leads to.
    """

    id: str
    sight: Sight
    status: TaskStatus
    at: datetime
    attempt: int
    type: str = ""
    tenant: str = ""
    queue: str = ""
    priority: int | None = None
    token: str | None = None
    worker: str | None = None
    began_at: datetime | None = None
    run_at: datetime | None = None
    expires_at: datetime | None = None
    input: Any = None
    result: Any = None
    error: TaskError | None = None
    reason: str = ""
    ran: bool = True
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class AdoptedRow:
    """The columns of a row that reports depend on and change."""

    status: TaskStatus
    attempt: int = 0
    token: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    is_guess: bool = False
    """Its end was concluded, not reported."""


@dataclass(frozen=True, slots=True)
class Step:
    """One history row that a report leads to."""

    source: TaskStatus | None
    target: TaskStatus
    attempt: int
    at: datetime


def follow(row: AdoptedRow | None, seen: Sighting) -> tuple[Step, ...]:
    """Return the steps to the new status, none for a report that is too late.

    A COMPLETED row stays COMPLETED; a further run of it is one step without a move, a remark.
    """
    sighting = _numbered(row, seen)
    if row is None:
        return () if sighting.sight is Sight.MISSED else _steps(None, sighting)
    if row.status is _S.COMPLETED:
        return _remark(row, sighting) if _runs_again(row, sighting) else ()
    return _steps(row, sighting) if _RULES[sighting.sight](row, sighting) else ()


def _numbered(row: AdoptedRow | None, sighting: Sighting) -> Sighting:
    """Return the report with the number of its run: the open run, or else the next one."""
    if sighting.attempt != UNKNOWN:
        return sighting
    attempt = 1 if row is None else row.attempt + (1 if row.status in WAITING else 0)
    return replace(sighting, attempt=attempt)


def _runs_again(row: AdoptedRow, sighting: Sighting) -> bool:
    if sighting.sight is not Sight.BEGUN or sighting.token == row.token:
        return False
    return row.started_at is None or sighting.at > row.started_at


def _is_retry_of(row: AdoptedRow, sighting: Sighting) -> bool:
    """Return whether a publish is a retry: the first creates the row, a later one ends a run."""
    if sighting.attempt == 0 or row.attempt > sighting.attempt:
        return False
    # The open run will report its own end, with more detail.
    return row.attempt < sighting.attempt or row.is_guess


def _begins(row: AdoptedRow, sighting: Sighting) -> bool:
    if sighting.attempt != row.attempt:
        return sighting.attempt > row.attempt
    if sighting.token == row.token or row.status is _S.ERRORED:
        # Its retry has been published: a worker that still runs this attempt is too late.
        return False
    known = [row.started_at, None if row.is_guess else row.ended_at]
    # The broker delivered the same message again, or the body replaced itself by another task.
    return all(moment is None or sighting.at > moment for moment in known)


def _ends(row: AdoptedRow, sighting: Sighting) -> bool:
    if sighting.status is _S.COMPLETED:
        # For any run: Celery's own result keeps a success as well.
        return True
    if sighting.attempt != row.attempt:
        return sighting.attempt > row.attempt
    if row.status in TERMINAL and not row.is_guess:
        return False
    if row.status is _S.ERRORED:
        # A task that waits for its next run may end without one.
        return not sighting.ran
    return not _is_of_older_run(row, sighting)


def _is_of_older_run(row: AdoptedRow, sighting: Sighting) -> bool:
    if sighting.token == row.token or row.started_at is None:
        return False
    seen_at = sighting.at if sighting.began_at is None else sighting.began_at
    return seen_at < row.started_at


def _is_missed(row: AdoptedRow, sighting: Sighting) -> bool:
    """Return whether nothing has happened since the row was read."""
    if row.attempt != sighting.attempt or row.token != sighting.token:
        return False
    waits = sighting.status is _S.CANCELED or not sighting.ran
    return row.status in WAITING if waits else row.status is _S.STARTED


_RULES = {
    Sight.PUBLISHED: _is_retry_of,
    Sight.BEGUN: _begins,
    Sight.ENDED: _ends,
    Sight.MISSED: _is_missed,
}


def _remark(row: AdoptedRow, sighting: Sighting) -> tuple[Step, ...]:
    return (Step(row.status, row.status, row.attempt, sighting.at),)


def _steps(row: AdoptedRow | None, sighting: Sighting) -> tuple[Step, ...]:
    return tuple(_passed(row, sighting))


def _passed(row: AdoptedRow | None, sighting: Sighting) -> Iterator[Step]:
    source = None if row is None else row.status
    attempt = 0 if row is None else row.attempt
    is_known_run = row is not None and row.status is _S.STARTED and row.attempt == sighting.attempt
    for step in _retried(source, attempt, sighting):
        yield step
        source, attempt = step.target, step.attempt
    for target in _way(source, sighting.status, ran=_has_run(sighting) and not is_known_run):
        if target in {_S.STARTED, sighting.status}:
            attempt = max(attempt, sighting.attempt)
        is_beginning = target is _S.STARTED and sighting.began_at is not None
        at = sighting.began_at if is_beginning and sighting.began_at else sighting.at
        yield Step(source, target, attempt, at)
        source = target


def _retried(source: TaskStatus | None, attempt: int, sighting: Sighting) -> Iterator[Step]:
    """Return the steps of earlier runs, each of which ended with a retry.

    Their ends were not reported yet, or never will be.
    """
    over = 0 if sighting.sight is Sight.MISSED else sighting.attempt
    if _has_run(sighting):
        over -= 1
    at = sighting.began_at or sighting.at
    if source is _S.STARTED and 0 < attempt <= over:
        yield Step(source, _S.ERRORED, attempt, at)
        source = _S.ERRORED
    for number in range(max(attempt, over - _PASSED_RUNS) + 1, over + 1):
        for target in _way(source, _S.ERRORED, ran=True):
            if target in {_S.STARTED, _S.ERRORED}:
                attempt = number
            yield Step(source, target, attempt, at)
            source = target


def _has_run(sighting: Sighting) -> bool:
    """Return whether there was a run, also if the row has none."""
    if sighting.sight is Sight.PUBLISHED:
        return sighting.attempt > 0
    return sighting.sight is not Sight.MISSED and sighting.ran


@cache
def _way(source: TaskStatus | None, target: TaskStatus, *, ran: bool) -> tuple[TaskStatus, ...]:
    """Return the shortest legal sequence of statuses, through a run where there was one."""
    if ran and target is not _S.STARTED and source is not _S.STARTED:
        return (*_way(source, _S.STARTED, ran=False), *_way(_S.STARTED, target, ran=False))
    if source is None:
        first = target if target in STARTS else _S.CREATED
        return (first,) if first is target else (first, *_way(first, target, ran=False))
    ways: deque[tuple[TaskStatus, ...]] = deque([()])
    pairs = allowed_pairs()
    seen: set[TaskStatus] = set()
    while ways:
        way = ways.popleft()
        last = way[-1] if way else source
        for following in TaskStatus:
            if (last, following) not in pairs or following in seen:
                continue
            if following is target:
                return (*way, following)
            seen.add(following)
            ways.append((*way, following))
    raise LookupError(f"no sequence of moves leads from {source} to {target}")


def tells_late(row: AdoptedRow, sighting: Sighting) -> bool:
    """Return whether a report has the error of a run whose retry was reported before."""
    is_reason = sighting.status is _S.ERRORED and sighting.error is not None
    return is_reason and 0 < sighting.attempt <= row.attempt


def celery_id_of(task: TaskEntity) -> str:
    """Return Celery's id of an adopted task; it differs from the row's id if it is not a UUID."""
    return str(task.attributes.get(CELERY_ID, task.id))


def is_guess(error_type: str | None) -> bool:
    """Return whether an error of this type was concluded, not reported."""
    return error_type in _GUESSES
