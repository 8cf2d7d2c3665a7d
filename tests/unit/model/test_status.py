"""The state machine: pure, and the same in the code and in the docs."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb.errors import IllegalMove
from taskdb.model.status import (
    CELERY_STATES,
    MOVES,
    PUBLISHABLE,
    RUNNING,
    STARTS,
    TERMINAL,
    WAITING,
    TaskStatus,
    allowed_pairs,
    check_move,
    in_order,
    verbs,
)

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "states.md"
STATUSES = st.sampled_from(list(TaskStatus))
VERBS = st.sampled_from(list(MOVES))


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of the page, without its head."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("queue", "CREATED"), ("claim", "QUEUED"), ("claim", "ERRORED"), ("complete", "FINISHED"),
        ("hand back", "STARTED"), ("cancel", "HALTED"), ("retry", "COMPLETED"),
        ("resubmit", "FAILED"),
    ],
)  # fmt: skip
def test_a_move_starts_where_a_run_leaves_a_task(verb: str, status: str) -> None:
    check_move(verb, TaskStatus(status))


@pytest.mark.parametrize(
    ("verb", "status", "allowed"),
    [
        ("claim", "STARTED", ("CREATED", "SCHEDULED", "QUEUED", "ERRORED")),
        ("queue", "QUEUED", ("CREATED", "SCHEDULED", "ERRORED")),
        ("complete", "CANCELED", ("STARTED", "PROCESSING", "FINISHED")),
        ("error", "CREATED", ("STARTED", "PROCESSING")),
        ("expire", "ERRORED", ("CREATED", "SCHEDULED", "QUEUED")),
        ("retry", "CREATED", ("SCHEDULED", "COMPLETED", "ERRORED", "FAILED", "HALTED", "CANCELED")),
        ("resubmit", "COMPLETED", ("SCHEDULED", "FAILED", "HALTED")),
    ],
)
def test_a_move_from_elsewhere_is_refused_and_names_where_it_may_start(
    verb: str, status: str, allowed: tuple[str, ...]
) -> None:
    with pytest.raises(IllegalMove) as refused:
        check_move(verb, TaskStatus(status), "some-id")
    assert refused.value.status == status
    assert refused.value.allowed == allowed
    assert all(word in str(refused.value) for word in ("some-id", status, *allowed))


@given(STATUSES, STATUSES)
def test_a_pair_is_allowed_exactly_if_a_verb_leads_there(
    source: TaskStatus, target: TaskStatus
) -> None:
    assert ((source, target) in allowed_pairs()) == (
        source is not target and bool(verbs(source, target))
    )


@given(VERBS, STATUSES)
def test_a_verb_that_starts_from_a_status_is_among_the_verbs_from_there(
    verb: str, status: TaskStatus
) -> None:
    leads = {target for target in TaskStatus if verb in verbs(status, target)}
    if status in MOVES[verb].sources:
        check_move(verb, status)
        assert leads == MOVES[verb].targets
    else:
        assert not leads


@given(st.sets(STATUSES))
def test_statuses_are_named_in_one_order(chosen: set[TaskStatus]) -> None:
    order = list(TaskStatus)
    assert [TaskStatus(name) for name in in_order(chosen)] == sorted(chosen, key=order.index)


def test_a_terminal_task_moves_only_when_it_is_to_run_again() -> None:
    ways = {verb for verb, move in MOVES.items() if move.sources & TERMINAL}
    assert ways == {"retry", "resubmit"}
    assert MOVES["retry"].targets == {TaskStatus.CREATED}
    # A new row begins so, and a resubmit makes a row as new.
    assert MOVES["resubmit"].targets == STARTS


def test_every_status_can_be_reached_and_left() -> None:
    assert STARTS | {target for _, target in allowed_pairs()} == set(TaskStatus)
    assert {source for source, _ in allowed_pairs()} == set(TaskStatus)


def test_nothing_is_both_waiting_and_running_and_over() -> None:
    assert PUBLISHABLE < WAITING
    assert not WAITING & RUNNING
    assert not (WAITING | RUNNING) & TERMINAL
    outside = set(TaskStatus) - WAITING - RUNNING - TERMINAL
    assert outside == {TaskStatus.FINISHED, TaskStatus.HALTED}


def test_what_is_settled_is_over_or_waits_for_a_person() -> None:
    assert {status for status in TaskStatus if status.is_terminal} == TERMINAL
    assert {status for status in TaskStatus if status.is_settled} == TERMINAL | {TaskStatus.HALTED}


def test_celery_calls_ready_only_what_is_over() -> None:
    ready = {"SUCCESS", "FAILURE", "REVOKED"}
    assert {status for status, word in CELERY_STATES.items() if word in ready} == TERMINAL


def test_the_page_explains_every_status() -> None:
    rows = table("What each state means")
    assert [row[0] for row in rows] == list(TaskStatus)
    assert all(len(row) == 3 and all(row) for row in rows)


def test_the_page_has_every_move_of_the_code() -> None:
    written = {
        verb: (sources.split(", "), targets.split(", "), meaning)
        for verb, sources, targets, meaning in table("Every move")
    }
    assert written == {
        move.verb: (list(in_order(move.sources)), list(in_order(move.targets)), move.meaning)
        for move in MOVES.values()
    }


def test_the_diagram_has_every_move_of_the_code() -> None:
    diagram = PAGE.read_text().split("```mermaid\n")[1].split("```")[0]
    drawn = re.findall(r"^ +(\w+) --> (\w+): (.+)$", diagram, re.MULTILINE)
    assert {(source, target): tuple(named.split(", ")) for source, target, named in drawn} == {
        (source, target): verbs(source, target) for source, target in allowed_pairs()
    }
    starts = re.findall(r"\[\*\] --> (\w+)$", diagram, re.MULTILINE)
    assert set(starts) == STARTS
    assert set(re.findall(r"(\w+) --> \[\*\]$", diagram, re.MULTILINE)) == TERMINAL


def test_the_page_has_celerys_word_for_every_status() -> None:
    assert table("States of Celery") == [[status, CELERY_STATES[status]] for status in TaskStatus]
