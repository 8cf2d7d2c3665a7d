"""Sightings of an adopted task: in whatever order they come, the row ends where the task did."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb.model.adopted import UNKNOWN, UNSEEN, WORKER_LOST, AdoptedReport, ReportKind
from taskdb.model.entity import TaskError
from taskdb.model.status import STARTS, TERMINAL, TaskStatus, allowed_pairs
from taskdb.store.adopted.record import Record

S = TaskStatus
ID = "01936e4b-7c00-7000-8000-0123456789ab"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = "the first run"
ENDS = (S.COMPLETED, S.FAILED, S.CANCELED)

Life = list[list[AdoptedReport]]
"""What each process saw, in the order in which it did."""


def seen(kind: ReportKind, status: S, second: float, attempt: int, **values: Any) -> AdoptedReport:
    given: dict[str, Any] = {"type": "shop.pack", "ran": kind is not ReportKind.PUBLISHED, **values}
    at = NOON + timedelta(seconds=second)
    return AdoptedReport(id=ID, kind=kind, status=status, at=at, attempt=attempt, **given)


def published(second: float = 0, retries: int = 0, **values: Any) -> AdoptedReport:
    status = S.ERRORED if retries else S.QUEUED
    return seen(ReportKind.PUBLISHED, status, second, retries, **values)


def begun(
    second: float, attempt: int = 1, token: str | None = None, **values: Any
) -> AdoptedReport:
    given = {"token": token or RUN, "worker": "w", **values}
    return seen(ReportKind.BEGUN, S.STARTED, second, attempt, **given)


def ended(
    status: S, second: float, attempt: int = 1, token: str | None = RUN, began: float | None = 1
) -> AdoptedReport:
    error = None if status is S.COMPLETED else TaskError("OSError", f"run {attempt}")
    began_at = None if began is None else NOON + timedelta(seconds=began)
    return seen(
        ReportKind.ENDED, status, second, attempt, token=token, began_at=began_at, error=error
    )


def missed(record: Record, status: S = S.FAILED) -> AdoptedReport:
    known = record.columns
    error = TaskError(WORKER_LOST if status is S.FAILED else UNSEEN, "gone")
    return seen(
        ReportKind.MISSED, status, 999, known["attempt"], token=known["claim_token"], error=error
    )


def life(runs: int, end: S) -> Life:
    """A task that was retried so often; every process tells of its own part."""
    processes = [[published()]]
    for number in range(1, runs + 1):
        second, token = number * 10.0, f"run-{number}"
        first = begun(second, number, token)
        if number < runs:
            again = published(second + 1, retries=number)
            last = ended(S.ERRORED, second + 2, number, token, second)
            processes.append([first, again, last])
        else:
            processes.append([first, ended(end, second + 2, number, token, second)])
    return processes


def follow(reports: Sequence[AdoptedReport], record: Record | None = None) -> Record:
    record = record or Record(ID)
    for one in reports:
        record.take(one)
    return record


def assert_legal(events: Sequence[dict[str, Any]]) -> None:
    moves = [(event["from_status"], S(event["to_status"])) for event in events]
    assert moves[0][0] is None and moves[0][1] in STARTS
    for (_, before), (source, after) in pairwise(moves):
        assert source == before
        assert before is after or (before, after) in allowed_pairs()


@given(st.data(), st.integers(1, 4), st.sampled_from(ENDS))
def test_the_end_is_the_same_in_whatever_order_processes_tell(
    data: st.DataObject, runs: int, end: S
) -> None:
    processes = life(runs, end)
    record, events = Record(ID), []
    while any(processes):
        chosen = data.draw(st.sampled_from([one for one in processes if one]))
        one = chosen.pop(0)
        for _ in range(data.draw(st.integers(1, 2))):
            events += record.take(one)
        if record.columns and data.draw(st.booleans()):
            events += record.take(
                missed(record, data.draw(st.sampled_from([S.FAILED, S.CANCELED])))
            )
    assert record.columns["status"] == end
    assert record.columns["attempt"] == runs
    assert_legal(events)


@given(st.data(), st.integers(1, 4))
def test_every_attempt_has_its_lines_in_whatever_order_processes_tell(
    data: st.DataObject, runs: int
) -> None:
    processes = life(runs, S.COMPLETED)
    record, events = Record(ID), []
    while any(processes):
        events += record.take(data.draw(st.sampled_from([one for one in processes if one])).pop(0))
    lines = [(one["to_status"], one["attempt"]) for one in events]
    history = [line for line in lines if line[0] in {"STARTED", "ERRORED", "COMPLETED"}]
    expected = [(status, n) for n in range(1, runs) for status in ("STARTED", "ERRORED")]
    assert history == [*expected, ("STARTED", runs), ("COMPLETED", runs)]
    told = [(one["attempt"], one["detail"]) for one in [*events, *record.remarks()]]
    for number in range(1, runs):
        assert sum(n == number and f"run {n}" in (detail or "") for n, detail in told) == 1


def test_no_more_runs_are_made_up_than_a_message_can_be_believed() -> None:
    events = Record(ID).take(begun(1, 1_000_000))
    assert len(events) < 60
    assert events[-1]["attempt"] == 1_000_000


@given(st.data(), st.integers(1, 3), st.sampled_from(ENDS))
def test_what_is_never_told_leaves_a_legal_history(data: st.DataObject, runs: int, end: S) -> None:
    told = [one for process in life(runs, end) for one in process if data.draw(st.booleans())]
    record = Record(ID)
    events = [event for one in data.draw(st.permutations(told)) for event in record.take(one)]
    if told:
        assert_legal(events)


def test_a_late_publish_never_takes_a_row_back() -> None:
    record = follow([begun(1), ended(S.COMPLETED, 2)])
    assert record.take(published(0, queue="mail")) == []
    assert record.columns["status"] == S.COMPLETED
    assert record.columns["queue"] == "mail"
    assert record.columns["created_at"] == NOON


def test_an_attempt_is_one_more_than_its_retries() -> None:
    record = follow([published(), begun(1)])
    assert record.columns["attempt"] == 1
    follow([published(2, retries=1), ended(S.ERRORED, 2), begun(9, 2, "b")], record)
    assert record.columns["attempt"] == 2


def test_a_run_that_follows_one_whose_end_is_not_known_yet_is_its_retry() -> None:
    record = follow([published(), begun(1)])
    events = record.take(begun(9, 2, "b"))
    assert [event["to_status"] for event in events] == ["ERRORED", "STARTED"]
    assert [event["attempt"] for event in events] == [1, 2]
    assert record.take(ended(S.ERRORED, 2)) == []
    assert record.columns["status"] == S.STARTED


def test_the_reason_of_a_retry_is_kept_though_its_message_came_first() -> None:
    record = follow([published(2, retries=1), ended(S.ERRORED, 2)])
    assert "run 1" in record.columns["error"]
    assert record.columns["status"] == S.ERRORED


@pytest.mark.parametrize("status", [S.COMPLETED, S.ERRORED, S.FAILED])
def test_what_was_taken_for_lost_is_corrected_by_what_is_seen_of_it(status: S) -> None:
    record = follow([published(), begun(1)])
    follow([missed(record)], record)
    assert record.columns["status"] == S.FAILED
    follow([ended(status, 60)], record)
    assert record.columns["status"] == status
    assert (record.columns["error"] is None) == (status is S.COMPLETED)


def test_what_was_taken_for_lost_begins_again_where_it_is_delivered_again() -> None:
    record = follow([published(), begun(1)])
    follow([missed(record), begun(30, token="b")], record)
    assert record.columns["status"] == S.STARTED
    assert record.columns["ended_at"] is None


def test_a_guess_is_not_made_about_what_has_moved_since() -> None:
    record = follow([published(), begun(1)])
    guess = missed(record)
    follow([begun(20, token="b")], record)
    assert record.take(guess) == []
    assert record.take(missed(follow([published()]))) == []


def test_a_failure_that_was_seen_is_no_guess() -> None:
    record = follow([begun(1), ended(S.FAILED, 2)])
    assert record.take(ended(S.CANCELED, 3)) == []
    assert record.take(ended(S.ERRORED, 3)) == []


def test_the_same_message_delivered_again_is_another_run() -> None:
    record = follow([published(), begun(1), ended(S.FAILED, 2)])
    events = record.take(begun(3, token="b"))
    assert [event["to_status"] for event in events] == ["CREATED", "STARTED"]
    assert record.columns["attempt"] == 1


def test_the_outcome_of_a_run_that_was_overtaken_does_not_count_unless_it_is_good() -> None:
    record = follow([published(), begun(1), begun(5, token="b")])
    assert record.take(ended(S.FAILED, 6)) == []
    assert record.take(ended(S.COMPLETED, 7))
    assert record.columns["status"] == S.COMPLETED


def test_a_run_after_the_task_has_completed_is_a_remark() -> None:
    record = follow([begun(1), ended(S.COMPLETED, 2)])
    events = record.take(begun(3, token="b"))
    assert [(one["from_status"], one["to_status"]) for one in events] == [("COMPLETED",) * 2]
    assert record.take(ended(S.FAILED, 4, token="b")) == []
    assert record.columns["status"] == S.COMPLETED


def test_the_main_process_ends_a_run_whose_number_it_does_not_know() -> None:
    lost = ended(S.FAILED, 9, UNKNOWN, token=None, began=None)
    assert follow([published(), lost]).columns["attempt"] == 1
    record = follow([published(), begun(1), ended(S.ERRORED, 2), begun(3, 2, "b"), lost])
    assert record.columns["attempt"] == 2
    assert record.columns["status"] == S.FAILED


def test_what_a_child_began_before_its_main_process_saw_it_die_does_not_begin_again() -> None:
    lost = ended(S.FAILED, 9, UNKNOWN, token=None, began=None)
    record = follow([published(), lost])
    assert record.take(begun(5)) == []


def test_what_ends_without_a_run_has_no_attempt() -> None:
    revoked = seen(
        ReportKind.ENDED, S.CANCELED, 5, 0, ran=False, error=TaskError("TaskRevoked", "x")
    )
    record = follow([published(), revoked])
    assert record.columns["status"] == S.CANCELED
    assert record.columns["attempt"] == 0


def test_what_waits_for_its_retry_may_be_revoked() -> None:
    revoked = seen(
        ReportKind.ENDED, S.CANCELED, 5, 1, ran=False, error=TaskError("TaskRevoked", "x")
    )
    record = follow([published(), begun(1), ended(S.ERRORED, 2), revoked])
    assert record.columns["status"] == S.CANCELED


def test_a_body_that_put_another_task_in_its_place_goes_back_and_begins_again() -> None:
    record = follow([published(), begun(1), published(1.5), ended(S.QUEUED, 2)])
    assert record.columns["status"] == S.QUEUED
    follow(
        [begun(3, token="b", type="shop.other"), ended(S.COMPLETED, 4, token="b", began=3)], record
    )
    assert record.columns["status"] == S.COMPLETED
    assert record.columns["type"] == "shop.other"


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_row_that_nobody_knew_of_begins_where_it_was_first_seen(status: S) -> None:
    events = Record(ID).take(ended(status, 2))
    assert [event["to_status"] for event in events] == ["CREATED", "STARTED", status]
    assert events[1]["at"] == NOON + timedelta(seconds=1)
