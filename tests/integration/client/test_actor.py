"""The actor of a change by hand: in the history of the task, and in the rows that name one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cases import each
from tests.integration.cli_site import Site, cli
from tests.integration.submit_site import client, end, events, logged
from tests.store.trees import end as end_badly
from tests.store.trees import part_ids

from taskdb import InvalidInput, Sequence, TaskDB, TaskStatus, submitting_as
from taskdb.store.contract import EVERYONE

__all__ = ["cli"]


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with client(store_url, tmp_path) as taskdb:
        Sequence("two", ["echo", "echo"], registry=taskdb.types.registry)
        yield taskdb


def last(taskdb: TaskDB, task_id: str) -> dict[str, Any]:
    return dict(taskdb.task_history(task_id)[-1].detail)


def failed(taskdb: TaskDB, **options: Any) -> str:
    task_id = taskdb.submit_task("echo", 1, **options).id
    end(taskdb, task_id, "FAILED")
    return task_id


def test_a_retry_and_a_cancel_name_their_actor(taskdb: TaskDB) -> None:
    task_id = failed(taskdb)
    taskdb.retry_task(task_id, by="ann")
    assert {"reason": "retried by hand", "by": "ann"} in [
        dict(one.detail) for one in taskdb.task_history(task_id)
    ]
    taskdb.cancel_task(task_id, by="bob")
    assert last(taskdb, task_id) == {"reason": "canceled by hand", "by": "bob"}


def test_without_an_actor_the_history_names_none(taskdb: TaskDB) -> None:
    task_id = taskdb.submit_task("echo", 1).id
    taskdb.cancel_task(task_id)
    assert last(taskdb, task_id) == {"reason": "canceled by hand"}


def test_a_cancel_of_a_running_body_names_its_actor(taskdb: TaskDB) -> None:
    task_id = taskdb.submit_task("echo", 1).id
    end(taskdb, task_id, "STARTED")
    taskdb.cancel_task(task_id, by="ann")
    assert last(taskdb, task_id) == {"reason": "canceled by hand", "by": "ann"}


def test_bulk_changes_name_their_actor(taskdb: TaskDB) -> None:
    ids = [failed(taskdb) for _ in range(2)]
    parent = taskdb.submit_fan_out("echo", [1]).id
    for one in part_ids(taskdb.store, parent):
        end_badly(taskdb.store, one, well=False)
    assert taskdb.retry_tasks(status="FAILED", by="ann") == 3
    everything = [*ids, parent, *part_ids(taskdb.store, parent)]
    for one in everything:
        details = [dict(event.detail) for event in taskdb.task_history(one)]
        assert any(detail.get("by") == "ann" for detail in details), details
    taskdb.cancel_tasks(type="echo", by="bob")
    for one in [*ids, parent]:
        assert "bob" in [event.detail.get("by") for event in taskdb.task_history(one)]


@pytest.mark.parametrize("force", [False, True])
def test_the_retry_of_a_tree_names_its_actor_on_each_row(taskdb: TaskDB, *, force: bool) -> None:
    parent = taskdb.submit_sequence("two", 1).id
    (step,) = taskdb.trees.sub_tasks(parent)
    end_badly(taskdb.store, step.id, well=False)
    taskdb.retry_task(parent, force=force, by="ann")
    assert "ann" in [event.detail.get("by") for event in taskdb.task_history(parent)]
    if not force:
        assert "ann" in [event.detail.get("by") for event in taskdb.task_history(step.id)]


def test_a_sub_task_that_reopens_its_parent_names_the_actor_on_both(taskdb: TaskDB) -> None:
    parent = taskdb.submit_fan_out("echo", [1]).id
    (part,) = part_ids(taskdb.store, parent)
    end_badly(taskdb.store, part, well=False)
    assert taskdb.get_task(parent).status is TaskStatus.FAILED
    taskdb.retry_task(part, by="ann")
    for one in (parent, part):
        details = [dict(event.detail) for event in taskdb.task_history(one)]
        assert any(detail.get("by") == "ann" for detail in details), details


@pytest.mark.parametrize("answer", [{"output": 7}, {"error": "no"}])
def test_a_call_back_names_its_actor(taskdb: TaskDB, answer: dict[str, Any]) -> None:
    from taskdb.model.outcome import NO_REPORT  # noqa: PLC0415
    from taskdb.store.tree.callback import digest_of  # noqa: PLC0415

    task_id = taskdb.submit_task("echo", 1).id
    end(taskdb, task_id, "STARTED")
    assert taskdb.store.callbacks.expect(task_id, "t", digest_of("token"), None)
    taskdb.store.callbacks.wait(task_id, "t", NO_REPORT, ())
    taskdb.resume_task("token", answer.get("output"), error=answer.get("error"), by="ann")
    assert last(taskdb, task_id)["by"] == "ann"


SOURCES: list[tuple[dict[str, Any], str | None, str | None, str]] = [
    ({"created_by": "fixed"}, "surrounding", "given", "fixed"),
    ({}, "surrounding", "given", "surrounding"),
    ({}, None, "given", "given"),
]


@pytest.mark.parametrize(("fixed", "surrounding", "by", "actor"), SOURCES)
def test_what_the_application_says_comes_before_what_the_caller_says(
    taskdb: TaskDB,
    fixed: dict[str, Any],
    surrounding: str | None,
    by: str | None,
    actor: str,
) -> None:
    acme = taskdb.for_tenant("acme", **fixed)
    task_id = acme.submit_task("echo", 1).id
    with submitting_as(created_by=surrounding):
        acme.cancel_task(task_id, by=by)
        acme.limits.pause(tenant="acme", by=by)
        acme.subscriptions.create("s", "webhook", "https://example.com/", created_by=by)
        acme.schedules.create("s", "echo", every=60, created_by=by)
        run = acme.schedules.run_now("s", by=by)
    assert last(taskdb, task_id)["by"] == actor
    assert acme.limits.list()[0].set_by == actor
    assert acme.subscriptions.get("s").created_by == actor
    assert acme.schedules.get("s").created_by == actor
    assert run.created_by == actor


WRONG: list[Callable[[TaskDB, str, Any], Any]] = [
    lambda taskdb, task_id, by: taskdb.cancel_task(task_id, by=by),
    lambda taskdb, task_id, by: taskdb.retry_task(task_id, by=by),
    lambda taskdb, task_id, by: taskdb.cancel_tasks(type="echo", by=by),
    lambda taskdb, task_id, by: taskdb.limits.pause(type="echo", by=by),
    lambda taskdb, task_id, by: taskdb.limits.set(type="echo", max_running=1, by=by),
]


@each("by", [7, "a\x00b", "x" * 5_000])
@each("change", WRONG, alone=True)
def test_an_actor_that_cannot_be_stored_is_refused_and_nothing_changes(
    taskdb: TaskDB, change: Callable[[TaskDB, str, Any], Any], by: Any
) -> None:
    task_id = taskdb.submit_task("echo", 1, delay=3_600).id
    with pytest.raises(InvalidInput, match="by"):
        change(taskdb, task_id, by)
    assert taskdb.get_task(task_id).status is TaskStatus.SCHEDULED
    assert taskdb.store.limits.all(EVERYONE) == []


def test_a_change_that_leaves_no_row_is_logged_with_its_actor(taskdb: TaskDB) -> None:
    taskdb.limits.pause(type="echo")
    taskdb.schedules.create("s", "echo", every=60)
    with logged() as log:
        taskdb.limits.resume(type="echo", by="ann")
        taskdb.schedules.pause("s", by="ann")
        taskdb.schedules.remove("s", by="ann")
    made = events(log, "change.made")
    assert [one["change"] for one in made] == [
        "pause.lifted",
        "schedule.paused",
        "schedule.removed",
    ]
    assert {one["by"] for one in made} == {"ann"}


def test_the_command_line_names_its_user(cli: Site) -> None:
    task_id = cli.submit("echo", 1)
    cli("cancel", task_id)
    with cli.client() as taskdb:
        by = last(taskdb, task_id)["by"]
    assert by.startswith("cli:")
    shown = cli("show", task_id, "--history").out
    assert f"canceled by hand (by {by})" in " ".join(shown.split())
