"""The judge finds each kind of fault, and nothing in rows that are true."""

from dataclasses import replace
from typing import Any

import pytest
from tests.chaos.journal import Journal
from tests.chaos.judge import Evidence, judge

STORY = ["CREATED", "QUEUED", "STARTED", "COMPLETED"]


def row(task_id: str, status: str = "COMPLETED", **values: Any) -> dict[str, Any]:
    return {
        "id": task_id,
        "status": status,
        "type": "chaos.plain",
        "kind": "TASK",
        "role": None,
        "parent_id": None,
        "position": None,
        "attempt": 1,
        "result": {"attempt": 1, "value": 0},
        "error": None,
        **values,
    }


def events(task_id: str, *statuses: str, attempts: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    numbers = attempts or tuple(int(status not in {"CREATED", "QUEUED"}) for status in statuses)
    before = (None, *statuses)
    return [
        {"task_id": task_id, "from_status": old, "to_status": new, "attempt": number}
        for old, new, number in zip(before, statuses, numbers, strict=False)
    ]


def journal(*lines: str) -> Journal:
    found = Journal()
    for line in lines:
        found.take(line)
    return found


TRUE = Evidence(
    tasks=[row("a")],
    events=events("a", *STORY),
    slots=0,
    journal=journal("submitted a 0", "begin a 1 plain 7", "end a 1"),
)


def said(evidence: Evidence) -> str:
    found = judge(evidence)
    return "\n".join(one.what for one in [*found.lost, *found.lies])


def test_it_finds_nothing_in_what_is_true() -> None:
    found = judge(TRUE)
    assert found.is_good
    assert found.duplicates == 0


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"tasks": [], "events": []}, "there is no row"),
        ({"journal": journal("submitted a 2", "end a 1")}, "0 of 2 sub-tasks are there"),
        (
            {"tasks": [row("a", "QUEUED")], "events": events("a", *STORY[:2])},
            "is still QUEUED",
        ),
        ({"journal": journal("begin a 1 plain 7")}, "whose body never returned"),
        ({"tasks": [row("a", result={"attempt": 2})]}, "the result of attempt 2"),
        ({"journal": journal("rolled-back a", "end a 1")}, "rolled back"),
        (
            {"tasks": [row("a", "FAILED")], "events": events("a", *STORY[:3], "FAILED")},
            "nothing of it failed for good",
        ),
        ({"events": events("a", *STORY)[1:]}, "goes on from CREATED where it stood at None"),
        ({"events": events("a", "CREATED", "COMPLETED")}, "moved from CREATED to COMPLETED"),
        ({"events": events("a", *STORY[:3])}, "history ends with STARTED"),
        (
            {
                "events": events(
                    "a",
                    *("CREATED", "STARTED", "ERRORED", "STARTED", "COMPLETED"),
                    attempts=(0, 1, 1, 1, 1),
                )
            },
            "attempt 1 was claimed 2 times\nattempt 1 has 2 outcomes",
        ),
        (
            {"events": events("a", *STORY, "CREATED", "STARTED", "COMPLETED")},
            "it ended 2 times",
        ),
        ({"journal": journal("scheduled once", "end a 1")}, "did not fire"),
        ({"slots": 1}, "1 slots are taken by nobody"),
    ],
)
def test_it_finds_what_is_wrong_with_a_task(changed: dict[str, Any], what: str) -> None:
    assert what in said(replace(TRUE, **changed))


def tree(parent: dict[str, Any], *sub_tasks: dict[str, Any]) -> Evidence:
    rows = [parent, *sub_tasks]
    return Evidence(
        tasks=rows,
        events=[event for one in rows for event in events(one["id"], *ways(one))],
        slots=0,
        journal=journal(*(f"end {one['id']} 1" for one in sub_tasks)),
    )


def ways(one: dict[str, Any]) -> tuple[str, ...]:
    if one["kind"] == "TASK":
        return tuple(STORY) if one["status"] == "COMPLETED" else ("CREATED", one["status"])
    ways = ("CREATED", "PROCESSING")
    return ways if one["status"] == "PROCESSING" else (*ways, one["status"])


def part(position: int, status: str = "COMPLETED") -> dict[str, Any]:
    return row(f"p{position}", status, role="part", parent_id="f", position=position)


def fan_out(status: str = "COMPLETED", succeeded: int = 2) -> dict[str, Any]:
    return row("f", status, kind="FAN_OUT", result={"succeeded": succeeded})


@pytest.mark.parametrize(
    ("evidence", "what"),
    [
        (tree(fan_out(), part(0), part(1, "QUEUED")), "1 of its sub-tasks are not"),
        (tree(fan_out("PROCESSING"), part(0), part(1)), "all its sub-tasks are over"),
        (tree(fan_out(succeeded=1), part(0), part(1)), "1 of 2 have succeeded"),
        (tree(fan_out(), part(0), {**part(0), "id": "q"}), "2 sub-tasks are ('part', 0)"),
        (
            tree(
                row("f", kind="SEQUENCE", result={"value": 1}),
                row("s", role="step", parent_id="f", position=0),
            ),
            "of a last step",
        ),
        (
            tree(
                row("f", kind="FAN_OUT", result={"attempt": 1, "value": [2, 2, 0, 0]}),
                part(0),
                row(
                    "h",
                    role="handler",
                    parent_id="f",
                    position=9,
                    result={"attempt": 1, "value": [2, 2, 0, 0]},
                ),
            ),
            "its handler was told [2, 2, 0, 0] of [1, 1, 0, 0]",
        ),
    ],
)
def test_it_finds_what_is_wrong_with_a_tree(evidence: Evidence, what: str) -> None:
    assert what in said(evidence)


def test_a_schedule_that_fired_twice_is_found() -> None:
    rows = [row(name, type="chaos.fired") for name in ("a", "b")]
    moves = [event for one in rows for event in events(one["id"], *STORY)]
    lines = journal("scheduled once", "end a 1", "end b 1")
    evidence = Evidence(tasks=rows, events=moves, slots=0, journal=lines)
    assert said(evidence) == "a schedule for one moment fired 2 times"


def test_a_crash_is_a_lie_where_a_worker_was_told_to_stop() -> None:
    crashed = replace(TRUE, tasks=[{**TRUE.tasks[0], "crashes": 1}])
    assert said(crashed) == ""
    assert "crashes are counted" in said(replace(crashed, may_crash=False))


def test_a_true_tree_is_found_true() -> None:
    assert said(tree(fan_out(), part(0), part(1))) == ""


def test_bodies_that_ran_twice_are_counted_and_no_lie() -> None:
    lines = ["begin a 1 plain 7", "begin a 1 plain 8", "begin a 2 plain 9", "end a 1"]
    assert judge(replace(TRUE, journal=journal(*lines))).duplicates == 2
    # One that raised was to run again.
    lines = ["begin a 1 plain 7", "raise a 1", "begin a 2 plain 8", "end a 1"]
    found = judge(replace(TRUE, journal=journal(*lines)))
    assert (found.duplicates, found.is_good) == (0, True)
