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


class ReportKind(StrEnum):
    """The kind of a report."""

    PUBLISHED = "published"
    BEGUN = "begun"
    ENDED = "ended"
    MISSED = "missed"
    """A report that should have come did not: a guess, which any report corrects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedReport:
    """One report about one task, at a moment of the clock of its sender.

    `attempt` is the number of the run; for a publish (`ran` is false) the number of runs before;
    UNKNOWN where the sender does not know it. `token` and `began_at` identify the run that ended,
    where the sender knows them. `status` is the status that the report leads to.
    """

    id: str
    kind: ReportKind
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


def follow(row: AdoptedRow | None, seen: AdoptedReport) -> tuple[Step, ...]:
    """Return the steps to the new status, none for a report that is too late.

    A COMPLETED row stays COMPLETED; a further run of it is one step without a move, a remark.
    """
    report = _numbered(row, seen)
    if row is None:
        return () if report.kind is ReportKind.MISSED else _steps(None, report)
    if row.status is _S.COMPLETED:
        return _remark(row, report) if _runs_again(row, report) else ()
    return _steps(row, report) if _RULES[report.kind](row, report) else ()


def _numbered(row: AdoptedRow | None, report: AdoptedReport) -> AdoptedReport:
    """Return the report with the number of its run: the open run, or else the next one."""
    if report.attempt != UNKNOWN:
        return report
    attempt = 1 if row is None else row.attempt + (1 if row.status in WAITING else 0)
    return replace(report, attempt=attempt)


def _runs_again(row: AdoptedRow, report: AdoptedReport) -> bool:
    if report.kind is not ReportKind.BEGUN or report.token == row.token:
        return False
    return row.started_at is None or report.at > row.started_at


def _is_retry_of(row: AdoptedRow, report: AdoptedReport) -> bool:
    """Return whether a publish is a retry: the first creates the row, a later one ends a run."""
    if report.attempt == 0 or row.attempt > report.attempt:
        return False
    # The open run will report its own end, with more detail.
    return row.attempt < report.attempt or row.is_guess


def _begins(row: AdoptedRow, report: AdoptedReport) -> bool:
    if report.attempt != row.attempt:
        return report.attempt > row.attempt
    if report.token == row.token or row.status is _S.ERRORED:
        # Its retry has been published: a worker that still runs this attempt is too late.
        return False
    known = [row.started_at, None if row.is_guess else row.ended_at]
    # The broker delivered the same message again, or the body replaced itself by another task.
    return all(moment is None or report.at > moment for moment in known)


def _ends(row: AdoptedRow, report: AdoptedReport) -> bool:
    if report.status is _S.COMPLETED:
        # For any run: Celery's own result keeps a success as well.
        return True
    if report.attempt != row.attempt:
        return report.attempt > row.attempt
    if row.status in TERMINAL and not row.is_guess:
        return False
    if row.status is _S.ERRORED:
        # A task that waits for its next run may end without one.
        return not report.ran
    return not _is_of_older_run(row, report)


def _is_of_older_run(row: AdoptedRow, report: AdoptedReport) -> bool:
    if report.token == row.token or row.started_at is None:
        return False
    seen_at = report.at if report.began_at is None else report.began_at
    return seen_at < row.started_at


def _is_missed(row: AdoptedRow, report: AdoptedReport) -> bool:
    """Return whether nothing has happened since the row was read."""
    if row.attempt != report.attempt or row.token != report.token:
        return False
    waits = report.status is _S.CANCELED or not report.ran
    return row.status in WAITING if waits else row.status is _S.STARTED


_RULES = {
    ReportKind.PUBLISHED: _is_retry_of,
    ReportKind.BEGUN: _begins,
    ReportKind.ENDED: _ends,
    ReportKind.MISSED: _is_missed,
}


def _remark(row: AdoptedRow, report: AdoptedReport) -> tuple[Step, ...]:
    return (Step(row.status, row.status, row.attempt, report.at),)


def _steps(row: AdoptedRow | None, report: AdoptedReport) -> tuple[Step, ...]:
    return tuple(_passed(row, report))


def _passed(row: AdoptedRow | None, report: AdoptedReport) -> Iterator[Step]:
    source = None if row is None else row.status
    attempt = 0 if row is None else row.attempt
    is_known_run = row is not None and row.status is _S.STARTED and row.attempt == report.attempt
    for step in _retried(source, attempt, report):
        yield step
        source, attempt = step.target, step.attempt
    for target in _way(source, report.status, ran=_has_run(report) and not is_known_run):
        if target in {_S.STARTED, report.status}:
            attempt = max(attempt, report.attempt)
        is_beginning = target is _S.STARTED and report.began_at is not None
        at = report.began_at if is_beginning and report.began_at else report.at
        yield Step(source, target, attempt, at)
        source = target


def _retried(source: TaskStatus | None, attempt: int, report: AdoptedReport) -> Iterator[Step]:
    """Return the steps of earlier runs, each of which ended with a retry.

    Their ends were not reported yet, or never will be.
    """
    over = 0 if report.kind is ReportKind.MISSED else report.attempt
    if _has_run(report):
        over -= 1
    at = report.began_at or report.at
    if source is _S.STARTED and 0 < attempt <= over:
        yield Step(source, _S.ERRORED, attempt, at)
        source = _S.ERRORED
    for number in range(max(attempt, over - _PASSED_RUNS) + 1, over + 1):
        for target in _way(source, _S.ERRORED, ran=True):
            if target in {_S.STARTED, _S.ERRORED}:
                attempt = number
            yield Step(source, target, attempt, at)
            source = target


def _has_run(report: AdoptedReport) -> bool:
    """Return whether there was a run, also if the row has none."""
    if report.kind is ReportKind.PUBLISHED:
        return report.attempt > 0
    return report.kind is not ReportKind.MISSED and report.ran


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


def tells_late(row: AdoptedRow, report: AdoptedReport) -> bool:
    """Return whether a report has the error of a run whose retry was reported before."""
    is_reason = report.status is _S.ERRORED and report.error is not None
    return is_reason and 0 < report.attempt <= row.attempt


def celery_id_of(task: TaskEntity) -> str:
    """Return Celery's id of an adopted task; it differs from the row's id if it is not a UUID."""
    return str(task.attributes.get(CELERY_ID, task.id))


def is_guess(error_type: str | None) -> bool:
    """Return whether an error of this type was concluded, not reported."""
    return error_type in _GUESSES
