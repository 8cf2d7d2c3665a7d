"""A unique key of a tree that ended badly: the same work goes on, other work is a new task."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from tests.cases import each
from tests.integration.client.test_transaction_connection import async_engine
from tests.integration.submit_site import client, engine_on, ids, messages, until_queued
from tests.store.tasks import LEASE, in_status, row
from tests.store.trees import end, handler, newest_step, part_ids, sub_tasks

from taskdb import FanOut, Sequence, TaskDB, TaskEntity, TaskStatus

S = TaskStatus
Submit = Callable[..., TaskEntity]
NEW: dict[str, Any] = {
    "name": "again",
    "tags": ("new",),
    "attributes": {"new": 1},
    "notify_id": "n-2",
    "priority": 8,
    "queue": "other",
    "request_id": "r-2",
    "created_by": "bob",
    "created_ip": "::2",
}
"""What the second submit says of the tree itself."""
OLD: dict[str, Any] = {
    "name": "first",
    "tags": ("old",),
    "attributes": {"old": 1},
    "notify_id": "n-1",
    "priority": 2,
    "queue": "slow",
    "request_id": "r-1",
    "created_by": "ann",
    "created_ip": "::1",
}
ITEMS = [{"a": 1}, {"a": 2}]


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with client(store_url, tmp_path) as taskdb:
        Sequence("two", ["echo", "echo"], registry=taskdb.types.registry, unique=True)
        yield taskdb


@pytest.fixture(params=["alone", "session", "connection", "async session"])
def submit(request: pytest.FixtureRequest, taskdb: TaskDB, store_url: str) -> Iterator[Submit]:
    """A submit by itself, or in a transaction that then commits."""
    engine = engine_on(store_url)

    async def submit_async(verb: str, *given: Any, **options: Any) -> TaskEntity:
        call = getattr(taskdb, f"submit_{verb}_async")
        async with async_engine(store_url) as engine, AsyncSession(engine) as session:
            entity: TaskEntity = await call(*given, session=session, **options)
            await session.commit()
        return entity

    def submit(verb: str, *given: Any, **options: Any) -> TaskEntity:
        call = getattr(taskdb, f"submit_{verb}")
        if request.param == "alone":
            entity: TaskEntity = call(*given, **options)
        elif request.param == "async session":
            entity = asyncio.run(submit_async(verb, *given, **options))
        elif request.param == "session":
            with Session(engine) as session, session.begin():
                entity = call(*given, session=session, **options)
        else:
            with engine.begin() as connection:
                entity = call(*given, session=connection, **options)
        return entity

    yield submit
    engine.dispose()


def split(taskdb: TaskDB, given: Any, **options: Any) -> str:
    """A task whose body has split it into two parts, of which the second one FAILED."""
    task_id = taskdb.submit_task("echo", given, unique_key="k", **options).id
    task_type = taskdb.types.registry.get("echo")
    assert taskdb.store.runs.claim(task_id, token="t", worker="w", max_attempts=1).granted
    assert taskdb.trees.split(task_id, "t", task_type, "", "plus", ITEMS, FanOut())
    return fail_second(taskdb, task_id)


def fan_out(taskdb: TaskDB, **options: Any) -> str:
    task_id = taskdb.submit_fan_out("plus", ITEMS, unique_key="k", **options).id
    until_queued(taskdb, *part_ids(taskdb.store, task_id))
    return fail_second(taskdb, task_id)


def fail_second(taskdb: TaskDB, task_id: str) -> str:
    good, bad = part_ids(taskdb.store, task_id)
    end(taskdb.store, good)
    end(taskdb.store, bad, well=False)
    taskdb.store.joins.join(task_id)
    assert taskdb.get_task(task_id).status is S.FAILED
    messages(taskdb)
    return task_id


def sequence(taskdb: TaskDB, **options: Any) -> str:
    """A sequence whose second step FAILED."""
    task_id = taskdb.submit_sequence("two", {"n": 1}, **options).id
    until_queued(taskdb, newest_step(taskdb.store, task_id).id)
    end(taskdb.store, newest_step(taskdb.store, task_id).id, {"n": 2})
    end(taskdb.store, newest_step(taskdb.store, task_id).id, well=False)
    assert taskdb.get_task(task_id).status is S.FAILED
    messages(taskdb)
    return task_id


TREES: dict[str, tuple[Callable[..., str], tuple[Any, ...]]] = {
    "split": (split, ("task", "echo", {"file": 1})),
    "fan_out": (fan_out, ("fan_out", "plus", ITEMS)),
    "sequence": (sequence, ("sequence", "two", {"n": 1})),
}


def fail(taskdb: TaskDB, tree: str, **options: Any) -> str:
    make, given = TREES[tree]
    return make(taskdb, given[2], **options) if tree == "split" else make(taskdb, **options)


def resubmit(submit: Submit, tree: str, **options: Any) -> TaskEntity:
    given = TREES[tree][1]
    return submit(*given, **({} if tree == "sequence" else {"unique_key": "k"}), **options)


@each("tree", sorted(TREES), alone=True)
def test_the_same_work_goes_on_where_it_failed_however_it_is_submitted(
    taskdb: TaskDB, submit: Submit, tree: str
) -> None:
    task_id = fail(taskdb, tree)
    again = resubmit(submit, tree)
    assert (again.id, taskdb.get_task(task_id).status) == (task_id, S.PROCESSING)
    good, bad = (one.id for one in sub_tasks(taskdb.store, task_id))
    assert taskdb.get_task(good).status is S.COMPLETED
    until_queued(taskdb, bad)
    assert bad in ids(messages(taskdb))
    end(taskdb.store, bad)
    taskdb.store.joins.join(task_id)
    assert taskdb.get_task(task_id).status is S.COMPLETED


@each("tree", sorted(TREES), alone=True)
def test_a_tree_that_goes_on_has_each_option_of_the_new_submit(
    taskdb: TaskDB, submit: Submit, tree: str
) -> None:
    task_id = fail(taskdb, tree, **OLD)
    again = resubmit(submit, tree, **NEW)
    assert again.id == task_id
    stored = taskdb.get_task(task_id)
    assert {name: getattr(stored, name) for name in NEW} == NEW


@each("tree", sorted(TREES), alone=True)
def test_a_rollback_leaves_a_tree_as_it_ended(taskdb: TaskDB, store_url: str, tree: str) -> None:
    task_id = fail(taskdb, tree)
    before = row(taskdb.store, task_id)
    engine = engine_on(store_url)
    with Session(engine) as session:
        resubmit(
            lambda verb, *given, **options: getattr(taskdb, f"submit_{verb}")(
                *given, session=session, **options
            ),
            tree,
            **NEW,
        )
        session.rollback()
    engine.dispose()
    assert row(taskdb.store, task_id) == before
    assert messages(taskdb) == []


OTHER = {
    "split": ("task", "echo", {"file": 2}),
    "split for later": ("task", "echo", {"file": 1}, {"delay": 3600}),
    "fan_out": ("fan_out", "plus", [{"a": 1}, {"a": 3}]),
    "fewer items": ("fan_out", "plus", [{"a": 1}]),
    "more items": ("fan_out", "plus", [*ITEMS, {"a": 3}]),
    "a fan-out that finds a split task": ("fan_out", "echo", [{"file": 1}]),
    "sequence": ("sequence", "two", {"n": 2}),
}


@each("case", sorted(OTHER), alone=True)
def test_other_work_is_a_new_task_and_the_tree_stays_as_it_ended(
    taskdb: TaskDB, submit: Submit, case: str
) -> None:
    verb, type_name, given, *rest = OTHER[case]
    tree = {"task": "split", "fan_out": "fan_out", "sequence": "sequence"}[verb]
    tree = "split" if type_name == "echo" else tree
    options = {**NEW, **(rest[0] if rest else {})}
    if tree == "sequence":
        task_id = taskdb.submit_sequence("two", {"n": 1}, unique_key="k").id
        end(taskdb.store, newest_step(taskdb.store, task_id).id, well=False)
    else:
        task_id = fail(taskdb, tree)
    before = row(taskdb.store, task_id)
    again = submit(verb, type_name, given, unique_key="k", **options)
    assert again.id != task_id
    stored = taskdb.get_task(again.id)
    assert {name: getattr(stored, name) for name in NEW} == NEW
    assert stored.unique_key == "k"
    assert {**before, "unique_key": None} == row(taskdb.store, task_id)
    if verb == "fan_out":
        inputs = [one.input for one in taskdb.trees.family(again.id)]
        assert [{**one, "b": 0} if "a" in one else one for one in given] == inputs
    else:
        assert stored.input == given
    assert stored.status is (S.SCHEDULED if rest else stored.status)


def test_parts_that_run_again_have_the_options_of_the_new_submit(
    taskdb: TaskDB, submit: Submit
) -> None:
    deadline = datetime(2200, 1, 1, tzinfo=UTC)
    task_id = fan_out(taskdb, priority=2)
    asked = {"priority": 8, "queue": "other", "deadline": deadline, "mutex_key": "m"}
    again = submit("fan_out", "plus", iter(ITEMS), unique_key="k", delay=3600, **asked)
    good, bad = sub_tasks(taskdb.store, again.id)
    assert (again.id, good.status, good.priority) == (task_id, S.COMPLETED, 2)
    assert (bad.priority, bad.queue, bad.deadline_at) == (8, "other", deadline)
    assert (bad.status, bad.held_by) == (S.SCHEDULED, "admission")
    assert bad.run_at is not None and bad.run_at > datetime.now(UTC) + timedelta(minutes=30)
    assert row(taskdb.store, bad.id)["mutex_key"] == "m"
    assert messages(taskdb) == []


def test_a_fan_out_that_goes_on_is_joined_as_the_new_submit_says(
    taskdb: TaskDB, submit: Submit
) -> None:
    task_id = fan_out(taskdb)
    again = submit(
        "fan_out", "plus", ITEMS, unique_key="k", join="all_settled", on_join="echo",
        max_concurrency=1, timeout=3600,
    )  # fmt: skip
    bad = sub_tasks(taskdb.store, task_id)[1]
    until_queued(taskdb, bad.id)
    assert (again.id, bad.held_by) == (task_id, None)
    assert row(taskdb.store, task_id)["deadline_at"] is not None
    end(taskdb.store, bad.id, well=False)
    taskdb.store.joins.join(task_id)
    assert handler(taskdb.store, task_id, "on_join").type == "echo"
    assert taskdb.get_task(task_id).status is S.FINISHED


def test_a_join_whose_handler_failed_runs_the_handler_of_the_new_submit(
    taskdb: TaskDB, submit: Submit
) -> None:
    task_id = taskdb.submit_fan_out("plus", ITEMS, unique_key="k", on_join="echo").id
    for part in part_ids(taskdb.store, task_id):
        end(taskdb.store, part)
    taskdb.store.joins.join(task_id)
    end(taskdb.store, handler(taskdb.store, task_id, "on_join").id, well=False)
    assert taskdb.get_task(task_id).status is S.FAILED
    again = submit("fan_out", "plus", ITEMS, unique_key="k", on_join="plus")
    assert again.id == task_id
    assert handler(taskdb.store, task_id, "on_join").type == "plus"


def test_items_of_chunks_go_on_one_by_one(taskdb: TaskDB, submit: Submit) -> None:
    items = [{"a": n} for n in range(4)]
    task_id = taskdb.submit_fan_out("plus", items, unique_key="k", chunk_size=2).id
    until_queued(taskdb, *part_ids(taskdb.store, task_id))
    for number, part in enumerate(part_ids(taskdb.store, task_id)):
        end(taskdb.store, part, well=number % 2 == 0)
    taskdb.store.joins.join(task_id)
    messages(taskdb)
    assert submit("fan_out", "plus", items, unique_key="k", chunk_size=2).id == task_id
    bad = part_ids(taskdb.store, task_id)[1::2]
    until_queued(taskdb, *bad)
    assert set(bad) <= set(ids(messages(taskdb)))


def test_large_items_are_compared_by_what_they_say(taskdb: TaskDB, submit: Submit) -> None:
    items = [{"text": "x" * 5_000}, {"text": "y" * 5_000}]
    task_id = taskdb.submit_fan_out("echo", items, unique_key="k").id
    fail_second(taskdb, task_id)
    assert submit("fan_out", "echo", items, unique_key="k").id == task_id
    assert [one.input for one in sub_tasks_read(taskdb, task_id)] == items


def sub_tasks_read(taskdb: TaskDB, task_id: str) -> list[TaskEntity]:
    return taskdb.trees.family(task_id)


@each("status", [S.FAILED, S.HALTED, S.SCHEDULED], alone=True)
def test_a_fan_out_takes_the_key_of_a_single_task_that_ended_badly_or_is_not_due(
    taskdb: TaskDB, submit: Submit, status: TaskStatus
) -> None:
    run = in_status(taskdb.store, status, type="plus", tenant="", unique_key="k", queue="taskdb")
    again = submit("fan_out", "plus", ITEMS, unique_key="k")
    assert again.id != run.id
    assert len(part_ids(taskdb.store, again.id)) == 2
    assert taskdb.get_task(run.id).status is (S.FAILED if status is S.FAILED else S.CANCELED)


def test_a_tree_that_completes_at_this_moment_is_not_run_again(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(postgresql_url, tmp_path) as taskdb:
        task_id = fan_out(taskdb)
        move = taskdb.store.database.dialect.move

        def move_late(session: Any, statement: Any, parameters: Any) -> Any:
            if statement.name == "resubmit":
                monkeypatch.undo()
                # Somebody else has retried it, and its part has ended well.
                taskdb.retry_task(task_id)
                end(taskdb.store, part_ids(taskdb.store, task_id)[1])
                taskdb.store.joins.join(task_id)
            return move(session, statement, parameters)

        monkeypatch.setattr(taskdb.store.database.dialect, "move", move_late)
        again = taskdb.submit_fan_out("plus", ITEMS, unique_key="k")
        assert (again.id, again.status) == (task_id, S.COMPLETED)
        assert part_statuses(taskdb, task_id) == [S.COMPLETED, S.COMPLETED]


def part_statuses(taskdb: TaskDB, task_id: str) -> list[TaskStatus]:
    return [one.status for one in sub_tasks(taskdb.store, task_id)]


def test_a_task_that_completes_at_this_moment_is_not_run_again(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(postgresql_url, tmp_path) as taskdb:
        store = taskdb.store
        run = in_status(store, S.FAILED, type="plus", tenant="", unique_key="k")
        move = store.database.dialect.move

        def move_late(session: Any, statement: Any, parameters: Any) -> Any:
            if statement.name == "resubmit":
                monkeypatch.undo()
                taskdb.retry_task(run.id)
                end(store, run.id)
            return move(session, statement, parameters)

        monkeypatch.setattr(store.database.dialect, "move", move_late)
        again = taskdb.submit_task("plus", {"a": 7}, unique_key="k", delay=60)
        assert (again.id, again.status) == (run.id, S.COMPLETED)
        assert store.publications.lease_due(10, LEASE) == []
