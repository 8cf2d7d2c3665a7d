"""How a run ends, on real workers: the row, its whole history, and at most one alarm.

The first table holds the ends that a body brings about by itself; what needs a hand from outside
(a signal, a revocation, a message that nobody sent) has a test of its own below. Every case has
the name under which the table of `docs/reference/states.md` knows it.
"""

import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult
from kombu import Connection, Exchange, Queue
from tests.cases import each
from tests.integration.worker_site import COMBINATIONS, Site, site_of
from tests.waiting import wait_until

from taskdb.errors import ResultNotKept
from taskdb.model.entity import TaskEntity
from taskdb_worker.run.execution import TaskMemoryError

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "states.md"
C, S, E, F = "CREATED", "STARTED", "ERRORED", "FAILED"
DONE, GONE, HALT, LATER = "COMPLETED", "CANCELED", "HALTED", "SCHEDULED"


@dataclass(frozen=True)
class Case:
    """What a body does, and what must be in the row and in the history afterwards."""

    name: str
    type: str
    moves: tuple[str, ...]
    input: Any = None
    result: Any = None
    error: str = ""
    message: str = ""
    traceback: str = ""
    spared: int = 0
    crashes: int = 0

    @property
    def attempt(self) -> int:
        return self.moves.count(S)

    @property
    def id(self) -> str:
        words = [self.name, self.type.removeprefix("ends.")]
        if isinstance(self.input, dict):
            words += [str(value) for value in self.input.values()]
        return "-".join(words)


OUR_ERRORS = "taskdb.errors"
ODD = "tests.integration.worker_tasks."
ODD_ONES = {
    "attribute": "Attribute", "text": "Text", "repr": "Repr", "reduce": "Reduce", "class": "Class",
    "arguments": "Arguments", "unpicklable": "", "large": "",
}  # fmt: skip
"""What a body raises, and the end of its class's name."""
TRIED = (C, S, E, S)

CASES = [
    Case("returned", "ends.returns", (C, S, DONE), {"value": [1, None]}, {"got": [1, None]}),
    Case("returned", "ends.returns", (C, S, DONE), None, {"got": None}),
    Case("returned", "ends.returns_model", (C, S, DONE), None, {"number": 7}),
    Case("returned", "ends.async", (C, S, DONE), {"value": 1}, 2),
    Case("returned", "ends.surrounded", (C, S, DONE), None, result=True),
    Case("returned", "ends.large", (C, S, DONE), {"text": "ab" * 5000}, "ba" * 5000),
    Case("raised-with-budget", "ends.raises_once", (*TRIED, DONE), None, "second"),
    Case("raised-with-budget", "ends.surrounding_raises", (*TRIED, DONE), None, "ran as 2"),
    Case("raised-with-budget", "ends.async_raises", (*TRIED, DONE), None, "after all"),
    Case("raised-with-budget", "ends.celery_retry", (*TRIED, DONE), None, "again"),
    Case(
        *("soft-limit-with-budget", "ends.soft_limit", (*TRIED, DONE)),
        input={"times": 1},
        result="in time",
    ),
    Case("returned", "ends.soft_limit_caught", (C, S, DONE), None, "cleaned up"),
    Case(
        *("hard-limit-with-budget", "ends.hard_limit", (*TRIED, DONE)),
        input={"times": 1},
        result="in time",
    ),
    Case(
        *("raised-at-the-end", "ends.raises", (C, S, F)),
        error="ValueError",
        message="no \N{REPLACEMENT CHARACTER} way",
        traceback="in raises",
    ),
    Case(
        *("raised-at-the-end", "ends.exhausts", (*TRIED, F)),
        error="ConnectionError",
        message="attempt 2",
        traceback="in exhausts",
    ),
    Case(
        *("raised-at-the-end", "ends.gives_up", (C, S, F)),
        error="KeyError",
        message="'hopeless'",
        traceback="in gives_up",
    ),
    Case(
        *("raised-at-the-end", "ends.retries_on", (*TRIED, F)),
        error="ValueError",
        message="not worth it",
        traceback="in retries_on",
    ),
    Case(
        *("raised-at-the-end", "ends.celery_retry_once", (C, S, F)),
        error="celery.exceptions.Retry",
        message="without a budget",
        traceback="in celery_retry_once",
    ),
    Case(
        *("raised-at-the-end", "ends.soft_limit", (*TRIED, F)),
        input={"times": 9},
        error="billiard.exceptions.SoftTimeLimitExceeded",
        message="SoftTimeLimitExceeded",
        traceback="in soft_limit",
    ),
    Case(
        *("raised-at-the-end", "ends.hard_limit", (*TRIED, F)),
        input={"times": 9},
        error="billiard.exceptions.TimeLimitExceeded",
        message="1.0",
    ),
    *(
        Case(
            *("said-fail", "ends.says", (C, S, F)),
            input={"what": "fail", "how": how},
            error="taskdb.model.outcome.Fail",
            message="enough",
        )
        for how in ("returned", "raised")
    ),
    *(
        Case(
            *("said-halt", "ends.says", (C, S, HALT)),
            input={"what": "halt", "how": how},
            error="taskdb.model.outcome.Halt",
            message="look at me",
        )
        for how in ("returned", "raised")
    ),
    *(
        Case(
            *("said-cancel", "ends.says", (C, S, GONE)),
            input={"what": "cancel", "how": how},
            error="taskdb.model.outcome.Cancel",
            message="not needed",
        )
        for how in ("returned", "raised")
    ),
    *(
        Case(
            *("snoozed", "ends.says", (C, S, LATER, S, LATER, S, DONE)),
            input={"what": "snooze", "how": how},
            result=2,
            spared=2,
        )
        for how in ("returned", "raised")
    ),
    *(
        Case(
            *("result-not-json", "ends.not_json", (C, S, F)),
            input={"what": what},
            error=f"{OUR_ERRORS}.NotEncodable",
            message="the result",
        )
        for what in ("set", "nan", "nul", "object", "deep")
    ),
    Case(
        *("result-not-json", "ends.huge", (C, S, F)),
        input={"size": 300_000},
        error=f"{OUR_ERRORS}.PayloadTooLarge",
        message="the limit is 200,000",
    ),
    *(
        Case(
            *("celery-ignore-or-reject", kind, (C, S, F)),
            error="TypeError",
            message=f"Celery's {name}: raise taskdb.Cancel to stop the task, or taskdb.Fail",
            traceback=f"in {kind.removeprefix('ends.')}",
        )
        for kind, name in (("ends.ignores", "Ignore"), ("ends.rejects", "Reject"))
    ),
    Case("rejected-for-requeue", "ends.requeues", (C, S, C, S, DONE), None, "then", spared=1),
    Case(
        *("process-killed", "ends.killed", (*TRIED, DONE)),
        input={"times": 1},
        result="survived",
        crashes=1,
    ),
    Case(
        *("process-killed", "ends.killed", (*TRIED, E, S, HALT)),
        input={"times": 9},
        error="billiard.exceptions.WorkerLostError",
        message="SIGKILL",
        crashes=3,
    ),
    *(
        Case(
            *("process-killed", "ends.exits_hard", (*TRIED, DONE)),
            input={"code": code},
            result="survived",
            crashes=1,
        )
        for code in (0, 3)
    ),
    Case(
        *("out-of-memory", "ends.out_of_memory", (*TRIED, DONE)),
        input={"times": 1},
        result="survived",
        crashes=1,
    ),
    Case(
        *("out-of-memory", "ends.out_of_memory", (*TRIED, E, S, HALT)),
        input={"times": 9},
        error=f"{TaskMemoryError.__module__}.{TaskMemoryError.__name__}",
        message="no room",
        traceback="in out_of_memory",
        crashes=3,
    ),
    Case(
        *("exited", "ends.sys_exit", (*TRIED, E, S, HALT)),
        input={"times": 9},
        error="taskdb_worker.run.execution.TaskExited",
        message="SystemExit: 3",
        traceback="in sys_exit",
        crashes=3,
    ),
    Case("exited", "ends.keyboard", (*TRIED, DONE), None, "survived", crashes=1),
    *(
        Case("returned", type, (C, S, DONE), {"how": how}, {"copy ended with": code})
        for type in ("ends.forks", "ends.forks_async", "ends.forks_in_a_surrounding")
        for how, code in (
            *(("returns", 0), ("exits", 5), ("raises", 1), ("says", 1)),
            *(("multiprocessing", 5),) * (type != "ends.forks_in_a_surrounding"),
        )
    ),
    *(
        Case(
            *("raised-at-the-end", "ends.raises_odd", (C, S, F)),
            input=input,
            error=error,
            message="",
            traceback="in raises_odd",
        )
        for input, error in (
            *(({"what": what}, f"{ODD}Odd{name}") for what, name in ODD_ONES.items()),
            ({"what": "group"}, "ExceptionGroup"),
            ({"what": "circle"}, "ValueError"),
            ({"what": "long"}, "ValueError"),
            ({"what": "", "below": "attribute"}, "ValueError"),
            ({"what": "", "below": "text"}, "ValueError"),
        )
    ),
    Case("raised-with-budget", "ends.asks_celery", (C, S, E, S, E, S, DONE), None, 3),
    Case(
        *("raised-at-the-end", "ends.asks_celery_once", (C, S, E, S, F)),
        error="KeyError",
        message="never",
        traceback="in asks_celery_once",
    ),
    # Two attempts are its budget; the crash is none of them.
    *(
        Case(
            *("raised-with-budget", "ends.crashes_and_raises", (*TRIED, E, S, DONE)),
            input={"how": how},
            result=0,
            crashes=1,
        )
        for how in ("killed", "exits", "sys.exit", "memory")
    ),
]


BY_HAND = {
    "shut-down": "test_worker_shutdown.py::test_a_body_that_was_cut_short_is_handed_back",
    "line-lost": "test_worker_outages.py::test_a_line_to_the_broker_that_is_cut",
    "unknown-type": "test_worker_ends.py::test_a_type_that_no_worker_knows",
    "revoked": "test_worker_ends.py::test_a_task_revoked_while_it_runs",
    "expired": "test_worker_ends.py::test_a_deadline_that_passed",
    "unreadable": "test_worker_ends.py::test_a_message_that_nobody_can_read",
    "no-row": "test_worker_ends.py::test_a_message_for_a_row_that_does_not_exist",
}
"""The cases that need a hand from outside, with the beginning of their test's name."""


def test_every_case_of_the_page_has_a_test_and_every_case_here_is_on_the_page() -> None:
    section = PAGE.read_text().partition("## How a run ends")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([a-z-]+)`", row[1])]

    assert len(named) == len(set(named)) > 15
    assert set(named) == {case.name for case in CASES} | set(BY_HAND)
    for place in BY_HAND.values():
        file, _, name = place.partition("::")
        (found,) = Path(__file__).parents[1].rglob(file)
        assert f"def {name}" in found.read_text(), place


@pytest.fixture(scope="module", params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with site_of(request.param, request, tmp_path_factory) as site:
        site.start_worker("-c", "2")
        site.start_beat()
        yield site


@pytest.fixture(scope="module")
def submitted(site: Site) -> dict[str, str]:
    """The id of a task for each case; all are submitted before one is looked at."""
    return {case.id: site.submit(case.type, case.input).id for case in CASES}


@pytest.mark.timeout(300)
@each("case", CASES, ids=lambda case: case.id)
def test_a_run_ends_as_the_table_says(site: Site, submitted: dict[str, str], case: Case) -> None:
    entity = site.settled(submitted[case.id])

    assert site.moves(entity.id) == list(case.moves), site.client.task_history(entity.id)
    assert str(entity.status) == case.moves[-1]
    assert entity.result == case.result
    counted = (entity.attempt, entity.spared, entity.crashes)
    assert counted == (case.attempt, case.spared, case.crashes)
    assert entity.ended_at is not None or entity.status == HALT
    assert_error(entity, case)
    assert site.alarms(entity.id) == (case.moves[-1] in {F, HALT})
    assert_celery_says_the_same(site, entity)


def assert_error(entity: TaskEntity, case: Case) -> None:
    if not case.error:
        assert entity.error is None
        return
    assert entity.error is not None
    assert entity.error.type == case.error
    assert case.message in entity.error.message
    assert case.traceback in entity.error.traceback
    assert bool(case.traceback) == bool(entity.error.traceback)
    assert "taskdb_worker/execution" not in entity.error.traceback
    assert entity.error.attempt == case.attempt


CELERY_STATES = {DONE: "SUCCESS", F: "FAILURE", GONE: "REVOKED", HALT: "RETRY", E: "RETRY"}


def assert_celery_says_the_same(site: Site, entity: TaskEntity) -> None:
    answer = AsyncResult(entity.id, app=site.celery)

    assert answer.state == CELERY_STATES.get(str(entity.status), "PENDING")
    if entity.status == DONE:
        assert answer.result == entity.result
    elif entity.status == GONE:
        # What Celery itself says of a revoked task, whoever revoked it.
        assert type(answer.result) is TaskRevokedError
    elif entity.error is not None:
        assert type(answer.result).__name__ == entity.error.type.rpartition(".")[2]
    if entity.error is not None:
        assert answer.traceback == entity.error.traceback


# --- ends that come from outside ------------------------------------------------------------------


def begun(site: Site, type: str, input: Any = None, **options: Any) -> TaskEntity:
    """A task whose body runs."""
    entity = site.submit(type, input, **options)
    site.wait_for_run(entity.id)
    return site.wait_for(entity.id, "STARTED", "PROCESSING")


def end_of(site: Site, task_id: str, *moves: str, alarms: int = 0, **counted: int) -> TaskEntity:
    """The settled row, once it and its history are as they must be."""
    entity = site.settled(task_id)
    assert site.moves(task_id) == list(moves), site.client.task_history(task_id)
    assert (entity.spared, entity.crashes) == (
        counted.get("spared", 0),
        counted.get("crashes", 0),
    )
    assert entity.attempt == moves.count(S)
    assert site.alarms(task_id) == alarms
    return entity


def error_of(entity: TaskEntity) -> tuple[str, str, int]:
    assert entity.error is not None
    return entity.error.type, entity.error.message, entity.error.attempt


def still_works(site: Site) -> None:
    """The worker goes on: it does a task that came after whatever was in the queue."""
    assert site.settled(site.submit("ends.returns", {"value": "after"}).id).status == DONE


def settles_nothing_more(site: Site, task_id: str, *moves: str) -> None:
    """Everything in the queue has been consumed, and the task did not move."""
    still_works(site)
    still_works(site)
    assert site.moves(task_id) == list(moves)


def test_progress_and_attributes_reach_the_row_while_the_body_runs(site: Site) -> None:
    entity = site.submit("ends.reports")
    seen = site.wait_for(entity.id, "PROCESSING")
    assert seen.progress is not None
    assert (seen.progress.current, seen.progress.total, seen.progress.message) == (1, 4, "begun")
    assert seen.attributes == {"colour": {"hue": 3}}
    assert AsyncResult(entity.id, app=site.celery).state == "STARTED"

    site.let_go(entity.id)
    site.let_go(f"on-{entity.id}")
    entity = end_of(site, entity.id, C, S, "PROCESSING", DONE)
    assert entity.progress is not None
    assert (entity.progress.current, entity.progress.message) == (4, "done")
    assert entity.attributes == {"colour": {"hue": 3}, "size": 2}


def test_large_values_go_through_the_payload_folder(site: Site) -> None:
    entity = site.submit("ends.large", {"text": "ab" * 5000})
    entity = site.settled(entity.id)

    assert entity.input_ref and entity.result_ref
    assert entity.result == "ba" * 5000
    kept = [path.name for path in (site.folder / "payloads").rglob("*.json")]
    assert f"{entity.id}-result-1.json" in kept


def test_a_lost_input_fails_without_another_attempt(site: Site) -> None:
    entity = site.submit("ends.large", {"text": "ab" * 5000}, delay=timedelta(seconds=0.5))
    [path] = (site.folder / "payloads").rglob(f"{entity.id}*")
    path.unlink()

    entity = end_of(site, entity.id, LATER, S, F, alarms=1)
    assert error_of(entity)[0] == f"{OUR_ERRORS}.PayloadMissing"
    assert not site.runs(entity.id)


def test_an_input_that_does_not_validate_at_the_worker_fails(site: Site) -> None:
    task_id = site.insert("ends.async", json.dumps({"value": "many"}))

    entity = end_of(site, task_id, S, F, alarms=1)
    kind, message, attempt = error_of(entity)
    assert (kind, attempt) == (f"{OUR_ERRORS}.InvalidInput", 1)
    assert "value" in message
    assert not site.runs(task_id)


def test_a_row_made_by_plain_sql_is_run(site: Site) -> None:
    task_id = site.insert("ends.returns", json.dumps({"value": 5}))

    # Its history begins with the first move that somebody made.
    assert end_of(site, task_id, S, DONE).result == {"got": 5}


@pytest.mark.parametrize(
    ("what", "error"), [("base", f"{ODD}OddBase"), ("generator exit", "GeneratorExit")]
)
def test_whatever_a_body_raises_fails_its_task(site: Site, what: str, error: str) -> None:
    entity = end_of(site, site.submit("ends.raises_odd", {"what": what}).id, C, S, F, alarms=1)
    assert error_of(entity) == (error, "odd", 1)
    still_works(site)


def test_a_deadline_that_passed_fails_the_task(site: Site) -> None:
    # Scheduled for after its deadline: whoever publishes it, the worker finds it expired.
    entity = site.submit(
        "ends.returns",
        delay=timedelta(seconds=0.5),
        deadline=datetime.now(UTC) + timedelta(seconds=0.2),
    )

    entity = end_of(site, entity.id, LATER, F, alarms=1)
    assert error_of(entity)[0] == "TaskExpired"
    assert "expired" in error_of(entity)[1]
    assert not site.runs(entity.id)


def test_a_task_that_expired_runs_when_it_is_retried_by_hand(site: Site) -> None:
    late = datetime.now(UTC) - timedelta(seconds=1)
    entity = site.submit("ends.returns", deadline=late)
    end_of(site, entity.id, C, F, alarms=1)

    site.client.retry_task(entity.id)
    end_of(site, entity.id, C, F, C, S, DONE, alarms=1)


def test_a_deadline_that_passes_while_a_task_is_retried_fails_nothing(site: Site) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=5)
    entity = begun(site, "ends.waits_each_and_raises", deadline=soon)
    wait_until(lambda: datetime.now(UTC) > soon)
    site.let_go(entity.id)
    end_of(site, entity.id, C, S, E, S, DONE)


# --- revoked and canceled -------------------------------------------------------------------------


def test_a_task_revoked_before_its_start_is_canceled(site: Site) -> None:
    entity = site.submit("ends.returns", delay=timedelta(seconds=1))
    site.celery.control.revoke(entity.id)
    wait_until(lambda: entity.id in str(site.celery.control.inspect(timeout=0.3).revoked()))

    entity = end_of(site, entity.id, LATER, GONE)
    assert AsyncResult(entity.id, app=site.celery).state == "REVOKED"
    assert not site.runs(entity.id)


@pytest.mark.parametrize("again", ["retried by hand", "resubmitted", "on another worker"])
def test_a_task_that_was_revoked_once_runs_when_it_is_wanted_again(site: Site, again: str) -> None:
    key = f"revoked and {again}"
    entity = site.submit("ends.returns", delay=timedelta(hours=1), unique_key=key)
    site.celery.control.revoke(entity.id)
    end_of(site, entity.id, LATER, GONE)
    if again == "on another worker":
        site.start_worker("-c", "1", "-Q", "elsewhere")
        site.query(
            "UPDATE taskdb_task SET queue = 'elsewhere' WHERE CAST(id AS TEXT) = :id", id=entity.id
        )

    if again == "resubmitted":
        # What is canceled is found again; by hand it goes on.
        assert site.submit("ends.returns", unique_key=key).id == entity.id
    site.client.retry_task(entity.id)
    end_of(site, entity.id, LATER, GONE, C, S, DONE)


def test_a_task_revoked_while_it_runs_is_canceled(site: Site) -> None:
    entity = begun(site, "ends.stubborn")
    site.celery.control.revoke(entity.id, terminate=True)

    entity = end_of(site, entity.id, C, S, GONE)
    assert error_of(entity) == ("TaskRevoked", "terminated while it ran", 1)
    still_works(site)


def test_a_waiting_task_is_canceled_at_once(site: Site) -> None:
    entity = site.submit("ends.returns", delay=timedelta(hours=1))

    assert site.client.cancel_task(entity.id).status == GONE
    end_of(site, entity.id, LATER, GONE)


def test_a_body_that_agrees_is_canceled_by_its_own_word(site: Site) -> None:
    entity = begun(site, "ends.agrees")
    assert site.client.cancel_task(entity.id).status == S

    entity = end_of(site, entity.id, C, S, GONE)
    assert error_of(entity)[:2] == ("taskdb.model.outcome.Cancel", "as you wish")


def test_a_body_that_returns_although_it_was_canceled_has_completed(site: Site) -> None:
    entity = begun(site, "ends.agrees_by_returning")
    site.client.cancel_task(entity.id)

    assert end_of(site, entity.id, C, S, DONE).result == "done anyway"


def test_a_stubborn_body_is_ended_after_the_grace(site: Site) -> None:
    entity = begun(site, "ends.stubborn")
    site.client.cancel_task(entity.id)

    entity = end_of(site, entity.id, C, S, GONE)
    assert error_of(entity)[0] == "TaskRevoked"
    asked, ended = entity.cancel_requested_at, entity.ended_at
    assert asked is not None and ended is not None
    assert ended - asked >= timedelta(seconds=site.settings.cancel_grace_seconds)
    still_works(site)


def test_a_stubborn_body_is_ended_although_a_duplicate_of_its_message_came(site: Site) -> None:
    entity = begun(site, "ends.stubborn")
    site.publish("ends.stubborn", entity.id)
    still_works(site)
    still_works(site)
    site.client.cancel_task(entity.id)

    end_of(site, entity.id, C, S, GONE)
    assert len(site.runs(entity.id)) == 1


def test_a_process_that_dies_while_a_cancel_is_wanted_ends_as_canceled(site: Site) -> None:
    # A body that asks for the cancel could be over before its process is killed.
    entity = begun(site, "ends.stubborn")
    site.client.cancel_task(entity.id)
    os.kill(site.wait_for_run(entity.id).pid, signal.SIGKILL)

    # The cancel is what happened to it, whether the crash or the end of the grace is noticed first.
    assert site.settled(entity.id).status == GONE
    assert site.moves(entity.id) == [C, S, GONE]
    assert not site.alarms(entity.id)


# --- messages that should not be ------------------------------------------------------------------


def test_a_type_that_no_worker_knows_fails_after_a_bounded_number_of_times(site: Site) -> None:
    task_id = site.insert("nobody.knows")

    entity = site.settled(task_id)
    assert site.moves(task_id)[-1] == F and set(site.moves(task_id)[:-1]) == {C}
    assert site.alarms(task_id) == 1
    [row] = site.query("SELECT unregistered, spared FROM taskdb_task WHERE id = :id", id=task_id)
    assert dict(row) == {"unregistered": 3, "spared": 0}
    kind, message, attempt = error_of(entity)
    assert (kind, attempt) == ("UnknownTaskType", 0)
    assert "TASKDB_TASK_MODULES" in message
    assert AsyncResult(task_id, app=site.celery).state == "FAILURE"


def test_a_message_for_a_row_that_does_not_exist_runs_nothing(site: Site) -> None:
    ghost = str(uuid4())
    foreign = "not-even-a-uuid"
    for task_id in (ghost, foreign):
        site.publish("ends.returns", task_id)

    still_works(site)
    still_works(site)
    assert not site.runs(ghost) and not site.runs(foreign)
    with pytest.raises(ResultNotKept):
        _ = AsyncResult(ghost, app=site.celery).state
    assert not site.query("SELECT id FROM taskdb_task WHERE id = :id", id=ghost)


WITH_A_TYPE = {"task": "ends.returns", "lang": "py"}


def test_a_message_that_nobody_can_read_leaves_a_remark_on_the_row(site: Site) -> None:
    entity = site.submit("ends.returns", delay=timedelta(hours=1))
    put_garbage(site, {"id": entity.id})

    wait_until(lambda: len(site.client.task_history(entity.id)) == 2)
    remark = site.client.task_history(entity.id)[-1]
    assert "a message was rejected" in str(remark.detail)
    settles_nothing_more(site, entity.id, LATER)
    assert site.client.get_task(entity.id).status == LATER


def test_a_message_that_nobody_can_read_moves_no_queued_task(site: Site) -> None:
    # In a queue that nobody consumes it stays QUEUED, whatever the relay does.
    entity = site.wait_for(site.submit("ends.returns", queue="nobody").id, "QUEUED")
    put_garbage(site, {"id": entity.id})

    settles_nothing_more(site, entity.id, C)
    assert site.client.get_task(entity.id).status == "QUEUED"
    site.client.cancel_task(entity.id)


def test_a_message_whose_body_nobody_can_read_runs_its_task(site: Site) -> None:
    """Its headers name the row, and the row has the rest."""
    entity = site.wait_for(site.submit("ends.returns", queue="nobody").id, "QUEUED")
    put_garbage(site, {"id": entity.id, **WITH_A_TYPE})

    end_of(site, entity.id, C, S, DONE)


def test_a_message_without_an_id_is_dropped(site: Site) -> None:
    put_garbage(site, {})
    put_garbage(site, WITH_A_TYPE)

    still_works(site)
    still_works(site)


def put_garbage(site: Site, headers: dict[str, Any]) -> None:
    name = site.settings.default_queue
    queue = Queue(name, Exchange(name), name)
    with Connection(site.settings.message_url) as connection:
        connection.Producer().publish(
            b"\xff{not json",
            exchange=queue.exchange,
            routing_key=name,
            declare=[queue],
            headers=headers,
            content_type="application/json",
            content_encoding="utf-8",
            retry=False,
        )


def test_a_duplicate_of_a_completed_task_runs_nothing(site: Site) -> None:
    entity = site.settled(site.submit("ends.returns", {"value": 1}).id)
    for _ in range(3):
        site.publish("ends.returns", entity.id)

    settles_nothing_more(site, entity.id, C, S, DONE)
    assert len(site.runs(entity.id)) == 1
    # The stored result is what Celery heard of each of them.
    assert site.client.get_task(entity.id).result == {"got": 1}


def test_a_duplicate_of_a_large_result_reads_it_again(site: Site) -> None:
    entity = site.settled(site.submit("ends.large", {"text": "ab" * 5000}).id)
    site.publish("ends.large", entity.id)

    settles_nothing_more(site, entity.id, C, S, DONE)
    assert len(site.runs(entity.id)) == 1


@pytest.mark.parametrize(
    ("type", "end"), [("ends.raises", F), ("ends.says", HALT)], ids=["failed", "halted"]
)
def test_a_duplicate_of_a_task_that_ended_badly_runs_nothing(
    site: Site, type: str, end: str
) -> None:
    given = {"what": "halt", "how": "raised"} if type == "ends.says" else None
    entity = site.settled(site.submit(type, given).id)
    for _ in range(2):
        site.publish(type, entity.id)

    settles_nothing_more(site, entity.id, C, S, end)
    assert len(site.runs(entity.id)) == 1
    assert site.alarms(entity.id) == 1


def test_duplicates_of_a_running_task_are_dropped(site: Site) -> None:
    entity = begun(site, "ends.waits")
    for _ in range(3):
        site.publish("ends.waits", entity.id)
    still_works(site)
    still_works(site)
    site.let_go(entity.id)

    assert end_of(site, entity.id, C, S, DONE).result == "went"
    assert len(site.runs(entity.id)) == 1


def test_a_message_that_comes_before_its_time_shortens_no_wait(site: Site) -> None:
    entity = site.submit("ends.returns", delay=timedelta(hours=1))
    site.publish("ends.returns", entity.id)

    settles_nothing_more(site, entity.id, LATER)


# --- what all of that leaves behind ---------------------------------------------------------------


def test_running_out_of_memory_does_not_end_the_worker(site: Site) -> None:
    before = site.workers[0]
    entity = site.settled(site.submit("ends.out_of_memory", {"times": 1}).id)
    first, second = site.runs(entity.id)

    assert before.is_running
    assert {first.parent_pid, second.parent_pid} == {before.pid}
    still_works(site)
