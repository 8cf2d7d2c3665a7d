"""What was seen of an adopted task, and what that means for its row: the rules, without a database.

An adopted task belongs to a Celery app that we only watch. Each process of it reports what it saw
(a publish, a run that began, a run that ended) when it gets to it, so reports of one task come in
any order, late, twice, or not at all. `follow` lets a row only go forward: by attempt, within an
attempt by the run that began last, within a run from its beginning to its end. What was missed is
passed through on the way, so that the history of an adopted task knows the moves of any other.
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
"""The attempt of a run of which only the task is known."""
CELERY_ID = "celery_id"
"""The attribute that has Celery's id, where that is no UUID."""
WORKER_LOST = "WorkerLost"
"""The error of what a dead worker ran, as far as one can tell from outside."""
UNSEEN = "Unseen"
"""The error of what nobody has seen for so long that nobody waits for it any more."""
PRESUMED_EXPIRED = "PresumedExpired"
"""The error of what expired and was dropped by the broker, which tells nobody."""
_GUESSES = frozenset({WORKER_LOST, UNSEEN, PRESUMED_EXPIRED})
_PASSED_RUNS = 25
"""Runs of which nothing was seen that get lines at most: a message may claim any number."""


class Sight(StrEnum):
    """What kind of thing was seen."""

    PUBLISHED = "published"
    BEGUN = "begun"
    ENDED = "ended"
    MISSED = "missed"
    """Nothing was seen where something should have been: a guess, which any sight corrects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One thing that was seen of one task, at a moment of the clock of who saw it.

    `attempt`: the number of the run, or where none was seen (a publish; `ran` is false) how many
    came before; UNKNOWN where who saw it cannot tell. `token` and `began_at` tell which run
    ended, where who saw it can know. `status` is where that leads.
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
    """What the rules ask of a row, and change in it."""

    status: TaskStatus
    attempt: int = 0
    token: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    is_guess: bool = False
    """Its end is what we concluded, and not what anyone saw."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the history that a sighting leads to."""

    source: TaskStatus | None
    target: TaskStatus
    attempt: int
    at: datetime


def follow(row: AdoptedRow | None, seen: Sighting) -> tuple[Step, ...]:
    """Where a sighting leads: the steps to the new status, none where it comes too late.

    A row that has completed stays so; another run of it is one step from there to there, a remark.
    """
    sighting = _numbered(row, seen)
    if row is None:
        return () if sighting.sight is Sight.MISSED else _steps(None, sighting)
    if row.status is _S.COMPLETED:
        return _remark(row, sighting) if _runs_again(row, sighting) else ()
    return _steps(row, sighting) if _RULES[sighting.sight](row, sighting) else ()


def _numbered(row: AdoptedRow | None, sighting: Sighting) -> Sighting:
    """The sighting with the number of its run: the one that goes on, or else the next one."""
    if sighting.attempt != UNKNOWN:
        return sighting
    attempt = 1 if row is None else row.attempt + (1 if row.status in WAITING else 0)
    return replace(sighting, attempt=attempt)


def _runs_again(row: AdoptedRow, sighting: Sighting) -> bool:
    if sighting.sight is not Sight.BEGUN or sighting.token == row.token:
        return False
    return row.started_at is None or sighting.at > row.started_at


def _is_retry_of(row: AdoptedRow, sighting: Sighting) -> bool:
    """The first publish is only the beginning of a row; a further one says that a run is over."""
    if sighting.attempt == 0 or row.attempt > sighting.attempt:
        return False
    # Of the run that still goes on its own end will say more.
    return row.attempt < sighting.attempt or row.is_guess


def _begins(row: AdoptedRow, sighting: Sighting) -> bool:
    if sighting.attempt != row.attempt:
        return sighting.attempt > row.attempt
    if sighting.token == row.token or row.status is _S.ERRORED:
        # Its retry has been published: whoever still runs this attempt has been overtaken.
        return False
    known = [row.started_at, None if row.is_guess else row.ended_at]
    # The broker delivered the same message again, or the body put another task in its place.
    return all(moment is None or sighting.at > moment for moment in known)


def _ends(row: AdoptedRow, sighting: Sighting) -> bool:
    if sighting.status is _S.COMPLETED:
        # Whichever run it was: Celery's own result keeps a success too.
        return True
    if sighting.attempt != row.attempt:
        return sighting.attempt > row.attempt
    if row.status in TERMINAL and not row.is_guess:
        return False
    if row.status is _S.ERRORED:
        # What waits for its next run may end without one.
        return not sighting.ran
    return not _is_of_older_run(row, sighting)


def _is_of_older_run(row: AdoptedRow, sighting: Sighting) -> bool:
    if sighting.token == row.token or row.started_at is None:
        return False
    seen_at = sighting.at if sighting.began_at is None else sighting.began_at
    return seen_at < row.started_at


def _is_missed(row: AdoptedRow, sighting: Sighting) -> bool:
    """Only where nothing has happened since one looked."""
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
    """The runs before, each of which asked for another one.

    Their ends have not been told yet, or never will be.
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
    """There was a run, whether or not the row knows of it."""
    if sighting.sight is Sight.PUBLISHED:
        return sighting.attempt > 0
    return sighting.sight is not Sight.MISSED and sighting.ran


@cache
def _way(source: TaskStatus | None, target: TaskStatus, *, ran: bool) -> tuple[TaskStatus, ...]:
    """The shortest legal way; by a run where there was one."""
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
    message = f"no way from {source} to {target}"
    raise LookupError(message)


def tells_late(row: AdoptedRow, sighting: Sighting) -> bool:
    """Why an earlier run asked for another one, or the same run whose retry was seen before."""
    is_reason = sighting.status is _S.ERRORED and sighting.error is not None
    return is_reason and 0 < sighting.attempt <= row.attempt


def celery_id_of(task: TaskEntity) -> str:
    """What Celery calls an adopted task; its row has another id where that is no UUID."""
    return str(task.attributes.get(CELERY_ID, task.id))


def is_guess(error_type: str | None) -> bool:
    """Whether an error of this type is what we concluded, and not what anyone saw."""
    return error_type in _GUESSES
