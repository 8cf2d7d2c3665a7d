"""The states of a task and every move between them, as data.

The machine is stated in three places: here, in the CHECK on the event table, and in the table of
`docs/reference/states.md`. A test compares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from taskdb.errors import IllegalMove


class TaskStatus(StrEnum):
    """The status of a task."""

    CREATED = "CREATED"
    SCHEDULED = "SCHEDULED"
    QUEUED = "QUEUED"
    STARTED = "STARTED"
    PROCESSING = "PROCESSING"
    FINISHED = "FINISHED"
    COMPLETED = "COMPLETED"
    ERRORED = "ERRORED"
    FAILED = "FAILED"
    HALTED = "HALTED"
    CANCELED = "CANCELED"

    @property
    def is_terminal(self) -> bool:
        """Ended: only `retry_task` moves it again."""
        return self in TERMINAL

    @property
    def is_settled(self) -> bool:
        """No process moves it any more: terminal, or HALTED until a person acts."""
        return self in TERMINAL or self is TaskStatus.HALTED


_S = TaskStatus

TERMINAL = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELED})
OPEN = frozenset(TaskStatus) - TERMINAL
"""Not ended: a parent waits for sub-tasks in these."""
WAITING = frozenset({_S.CREATED, _S.SCHEDULED, _S.QUEUED, _S.ERRORED})
"""Not claimed: a worker may claim it now, or when it is due."""
PUBLISHABLE = frozenset({_S.CREATED, _S.SCHEDULED, _S.ERRORED})
"""The relay publishes tasks in these when they are due."""
RUNNING = frozenset({_S.STARTED, _S.PROCESSING})
"""Claimed; or, when `waits_for` is set, waiting without a worker."""


@dataclass(frozen=True, slots=True)
class Move:
    """One verb of the machine: from any of `sources` to any of `targets`."""

    verb: str
    sources: frozenset[TaskStatus]
    targets: frozenset[TaskStatus]
    meaning: str


def _move(verb: str, sources: Iterable[_S], targets: Iterable[_S], meaning: str) -> Move:
    return Move(verb, frozenset(sources), frozenset(targets), meaning)


MOVES: Mapping[str, Move] = MappingProxyType(
    {
        move.verb: move
        for move in (
            _move("queue", PUBLISHABLE, [_S.QUEUED], "the broker took the message"),
            _move("claim", WAITING, [_S.STARTED], "a worker took it, once"),
            _move(
                "wait",
                [_S.CREATED, *RUNNING],
                [_S.PROCESSING],
                "waits for its sub-tasks, without a worker",
            ),
            _move("progress", [_S.STARTED], [_S.PROCESSING], "the body reported progress"),
            _move("complete", [*RUNNING, _S.FINISHED], [_S.COMPLETED], "ended well"),
            _move("finish", RUNNING, [_S.FINISHED], "done except for its handlers"),
            _move("error", RUNNING, [_S.ERRORED], "this attempt failed, another follows"),
            _move("fail", [*RUNNING, _S.FINISHED], [_S.FAILED], "ended badly"),
            _move(
                "expire",
                WAITING - {_S.ERRORED},
                [_S.FAILED],
                "its deadline passed before its first attempt started",
            ),
            _move("forget", WAITING, [_S.FAILED], "no worker knew its type, several times"),
            _move(
                "crash",
                RUNNING,
                [_S.CREATED, _S.ERRORED, _S.FAILED, _S.HALTED],
                "its process died; the third time is poison, a chunk's items run one by one",
            ),
            _move("snooze", RUNNING, [_S.SCHEDULED], "the body asked to run later; not counted"),
            _move(
                "hand back",
                [*RUNNING, *WAITING],
                [_S.CREATED],
                "a run or a message that does not count",
            ),
            _move("halt", [*RUNNING, *WAITING], [_S.HALTED], "waits for a person"),
            _move(
                "cancel",
                [*RUNNING, *WAITING, _S.FINISHED, _S.HALTED],
                [_S.CANCELED],
                "stopped by a person or its parent",
            ),
            _move(
                "retry",
                [*TERMINAL, _S.HALTED, _S.ERRORED, _S.SCHEDULED],
                [_S.CREATED],
                "started again by a person, with a full budget",
            ),
            _move(
                "resubmit",
                [_S.FAILED, _S.HALTED, _S.SCHEDULED],
                [_S.CREATED, _S.SCHEDULED],
                "the same unique key was submitted again",
            ),
        )
    }
)

RETRIED_IN_BULK = frozenset({_S.FAILED, _S.HALTED, _S.CANCELED})
"""The statuses that a retry by filter runs again; with force every status that `retry` allows."""

STARTS = frozenset({_S.CREATED, _S.SCHEDULED})
"""The first status of a row."""


def allowed_pairs() -> frozenset[tuple[TaskStatus, TaskStatus]]:
    """Return every (from, to) that some verb allows."""
    return frozenset(
        (source, target)
        for move in MOVES.values()
        for source in move.sources
        for target in move.targets
        if source is not target
    )


def verbs(source: TaskStatus, target: TaskStatus) -> tuple[str, ...]:
    """Return the verbs that lead from one status to the other, in the order of the table."""
    return tuple(m.verb for m in MOVES.values() if source in m.sources and target in m.targets)


def check_move(verb: str, status: TaskStatus, task_id: str = "") -> None:
    """Raise IllegalMove if the verb does not start from this status."""
    sources = MOVES[verb].sources
    if status not in sources:
        raise IllegalMove(verb, status, in_order(sources), task_id)


def in_order(statuses: Iterable[TaskStatus]) -> tuple[str, ...]:
    """Return the values of some statuses in the order of the enumeration."""
    chosen = set(statuses)
    return tuple(status.value for status in TaskStatus if status in chosen)


CELERY_STATES: Mapping[TaskStatus, str] = MappingProxyType(
    {
        _S.CREATED: "PENDING",
        _S.SCHEDULED: "PENDING",
        _S.QUEUED: "PENDING",
        _S.STARTED: "STARTED",
        _S.PROCESSING: "STARTED",
        _S.FINISHED: "STARTED",
        _S.COMPLETED: "SUCCESS",
        _S.ERRORED: "RETRY",
        _S.FAILED: "FAILURE",
        _S.HALTED: "RETRY",
        _S.CANCELED: "REVOKED",
    }
)
"""The states of Celery. HALTED is RETRY there: not ready, and it may run again."""
