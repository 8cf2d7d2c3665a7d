"""Attempts, as the events of a task tell them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from taskdb.model.attempt import attempts_of
from taskdb.model.entity import TaskEvent
from taskdb.model.status import TaskStatus

START = datetime(2026, 11, 20, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def history(*moves: tuple[str | None, str, int]) -> list[TaskEvent]:
    """Events a second apart, of (from, to, attempt)."""
    return [
        TaskEvent(
            id=number,
            task_id="x",
            tenant="",
            from_status=TaskStatus(source) if source else None,
            to_status=TaskStatus(target),
            attempt=attempt,
            worker=f"w-{attempt}" if attempt else None,
            at=at(number),
            detail={"event": number},
        )
        for number, (source, target, attempt) in enumerate(moves)
    ]


def told(events: list[TaskEvent]) -> list[tuple[Any, ...]]:
    return [
        (a.number, a.worker, a.started_at, a.ended_at, str(a.status)) for a in attempts_of(events)
    ]


def test_a_task_that_never_ran_has_no_attempt() -> None:
    assert attempts_of([]) == []
    assert attempts_of(history((None, "CREATED", 0), ("CREATED", "CANCELED", 0))) == []


def test_each_run_is_one_attempt_with_its_worker_and_its_end() -> None:
    events = history(
        (None, "CREATED", 0),
        ("CREATED", "QUEUED", 0),
        ("QUEUED", "STARTED", 1),
        ("STARTED", "PROCESSING", 1),
        ("PROCESSING", "ERRORED", 1),
        ("ERRORED", "QUEUED", 1),
        ("QUEUED", "STARTED", 2),
        ("STARTED", "COMPLETED", 2),
    )
    assert told(events) == [
        (1, "w-1", at(2), at(4), "ERRORED"),
        (2, "w-2", at(6), at(7), "COMPLETED"),
    ]
    assert [attempt.detail for attempt in attempts_of(events)] == [{"event": 4}, {"event": 7}]


def test_a_run_that_goes_on_has_no_end_yet() -> None:
    events = history((None, "CREATED", 0), ("CREATED", "STARTED", 1))
    assert told(events) == [(1, "w-1", at(1), None, "STARTED")]
    events += history((None, "CREATED", 0), (None, "CREATED", 0), ("STARTED", "PROCESSING", 1))[2:]
    assert told(events) == [(1, "w-1", at(1), None, "PROCESSING")]


def test_what_happens_to_the_task_after_a_run_does_not_change_the_run() -> None:
    events = history(
        (None, "CREATED", 0),
        ("CREATED", "STARTED", 1),
        ("STARTED", "FAILED", 1),
        ("FAILED", "CREATED", 1),
        ("CREATED", "CANCELED", 1),
    )
    assert told(events) == [(1, "w-1", at(1), at(2), "FAILED")]


def test_a_remark_is_no_attempt() -> None:
    events = history(
        (None, "CREATED", 0),
        ("CREATED", "STARTED", 1),
        ("STARTED", "STARTED", 1),
        ("STARTED", "CREATED", 1),
    )
    assert told(events) == [(1, "w-1", at(1), at(3), "CREATED")]
