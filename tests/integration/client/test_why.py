"""The way of the client: a body that waits for the outside, and why tasks are where they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskdb import InvalidInput, TaskContext, TaskDB, TaskStatus
from taskdb.celery.broker_state import broker_state
from taskdb.cli.app import run_command
from taskdb.errors import CallbackRefused
from taskdb.settings.settings import Settings
from taskdb.types.declaration import on_task, task
from taskdb.types.registry import Registry
from taskdb_worker.command import run_task

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """The tokens that bodies have given away."""
    return []


@pytest.fixture
def taskdb(tmp_path: Path, given: list[str]) -> Iterator[TaskDB]:
    registry = Registry()

    @task("pay", registry=registry)
    def pay(ctx: TaskContext, input: Any) -> str:
        given.append(ctx.wait_for_callback(deadline=3_600))
        if input == "answered at once":
            taskdb.resume_task(given[-1], {"paid": 1})
        if input == "answered, then raises":
            taskdb.resume_task(given[-1], {"paid": 2})
            raise ValueError(input)
        if input == "raises":
            raise ValueError(input)
        if input == "twice":
            ctx.wait_for_callback()
        return "not kept"

    @task("audited", registry=registry)
    def audited(ctx: TaskContext) -> None:
        given.append(ctx.wait_for_callback())

    @on_task("audited", registry=registry)
    def audit(ctx: TaskContext) -> None:
        pass

    settings = Settings.load({}, data_dir=tmp_path, payload_inline_bytes=1_000)
    with TaskDB(settings, registry=registry) as taskdb:
        yield taskdb


def run(taskdb: TaskDB, type: str, input: Any = None) -> str:
    """Run a body; the id of its task."""
    return run_task(taskdb, taskdb.submit_task(type, input).id).id


def test_who_has_the_token_ends_the_task_once(taskdb: TaskDB, given: list[str]) -> None:
    task_id = run(taskdb, "pay", "answered later")
    assert taskdb.get_task(task_id).waits_for == "callback"
    assert taskdb.explain_task(task_id).cause == "callback"
    with pytest.raises(InvalidInput):
        taskdb.resume_task(given[0], {"paid": 7}, error="both")
    done = taskdb.resume_task(given[0], {"paid": "x" * 100_000})
    assert (done.id, done.status) == (task_id, TaskStatus.COMPLETED)
    assert done.result == {"paid": "x" * 100_000}
    for token in (given[0], "no token", ""):
        with pytest.raises(CallbackRefused) as refused:
            taskdb.resume_task(token, {"paid": "y" * 100_000})
        assert given[0] not in str(refused.value)
    assert len(list((taskdb.settings.payload_folder).rglob("*.json"))) == 1
    assert given[0] not in str(taskdb.task_history(task_id))


@pytest.mark.parametrize(
    ("input", "status", "result"),
    [
        ("answered at once", "COMPLETED", {"paid": 1}),
        ("answered, then raises", "COMPLETED", {"paid": 2}),
        ("raises", "FAILED", None),
        ("twice", "FAILED", None),
    ],
)
def test_how_the_body_ends(taskdb: TaskDB, input: str, status: str, result: Any) -> None:
    found = taskdb.get_task(run(taskdb, "pay", input))
    assert (found.status, found.result) == (status, result)


def test_the_other_handlers_of_the_type_follow_the_answer(taskdb: TaskDB, given: list[str]) -> None:
    task_id = run(taskdb, "audited")
    assert taskdb.resume_task(given[0], 5).status is TaskStatus.FINISHED
    (audit,) = taskdb.trees.sub_tasks(task_id, role="handler")
    told = taskdb.explain_task(task_id)
    assert told.cause == "sub_tasks"
    assert told.below is not None and told.below.task_id == audit.id
    run_task(taskdb, audit.id)
    assert taskdb.get_task(task_id).result == 5


def test_the_command_line_answers_and_explains(
    taskdb: TaskDB,
    given: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TASKDB_DATA_DIR", str(taskdb.settings.data_dir))
    task_id = run(taskdb, "pay", "answered later")

    def said(*words: str) -> str:
        assert run_command(words) == 0
        return capsys.readouterr().out

    assert said("why", task_id).startswith("PROCESSING: it waits for someone outside to call back")
    said("resume-task", given[0], "--error", "no money")
    told = json.loads(said("why", task_id, "--json"))
    assert (told["cause"], told["facts"]["error"]["message"]) == ("failed", "no money")
    assert told["sentence"].startswith("it ended ") and "FAILED" not in told["sentence"]
    assert run_command(["resume-task", given[0]]) == 3


def test_a_broker_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    registry = Registry()
    task("sum", registry=registry)(lambda: None)
    settings = Settings.load({}, data_dir=tmp_path, broker_url=NOWHERE, publish_budget_seconds=0.1)
    with TaskDB(settings, registry=registry) as taskdb:
        told = taskdb.explain_task(taskdb.submit_task("sum").id)
    assert told.cause == "broker_away"
    assert "127.0.0.1:1" in told.sentence


@pytest.mark.parametrize("broker", ["embedded", "redis_url", "rabbitmq_url"])
def test_a_broker_tells_what_waits_in_a_queue(
    request: pytest.FixtureRequest, tmp_path: Path, broker: str
) -> None:
    url = "" if broker == "embedded" else str(request.getfixturevalue(broker))
    registry = Registry()
    task("sum", registry=registry)(lambda: None)
    settings = Settings.load({}, data_dir=tmp_path, broker_url=url, publish_budget_seconds=10)
    with TaskDB(settings, registry=registry) as taskdb:
        one = taskdb.submit_many("sum", [None, None], priority=7)[0]
        assert one.status is TaskStatus.QUEUED
        told = taskdb.explain_task(one.id)
        assert told.cause == "no_consumer"
        assert broker_state(settings, one.queue).messages == 2
        assert broker_state(settings, "nothing").away is None
