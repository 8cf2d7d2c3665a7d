"""Fan-outs and sequences through the client: what is refused, and whose transaction they are in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy.orm import Session
from tests.cases import each
from tests.integration.submit_site import (
    client,
    count,
    engine_on,
    files,
    ids,
    messages,
    until_queued,
)
from tests.store.trees import end, end_all, newest_step, part_ids

from taskdb import FanOut, InvalidInput, Sequence, Step, TaskDB, TaskStatus
from taskdb.client.step_cache import MemoryStepCache
from taskdb.errors import IllegalMove, SequenceAlreadyCompleted, SequenceNotFound, TaskNotFound
from taskdb.model.outcome import NO_REPORT

S = TaskStatus


class Paper(BaseModel):
    n: int


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with client(store_url, tmp_path) as taskdb:
        registry = taskdb.types.registry
        Sequence("two", ["echo", "echo"], registry=registry, unique=True)
        Sequence(
            "fan", ["echo", Step("plus", fan_out=FanOut(max_concurrency=1))], registry=registry
        )
        Sequence("nested", [Step(registry.sequence("two")), "echo"], registry=registry)
        yield taskdb


def test_an_item_that_is_wrong_is_named_and_nothing_stays(taskdb: TaskDB) -> None:
    def items() -> Iterator[Any]:
        yield from ({"a": n} for n in range(1_200))
        yield {"a": "x"}

    with pytest.raises(InvalidInput, match=r"1200\.a"):
        taskdb.submit_fan_out("plus", items())
    large = [{"text": "x" * 5_000}, object()]
    with pytest.raises(InvalidInput, match=r"1"):
        taskdb.submit_fan_out("echo", large)
    assert count(taskdb) == 0
    assert files(taskdb) == []


@each("items", [{"a": 1}, "text", 7])
def test_one_item_is_no_list(taskdb: TaskDB, items: Any) -> None:
    with pytest.raises(InvalidInput, match="is one item"):
        taskdb.submit_fan_out("plus", items)
    assert count(taskdb) == 0


def test_name_tags_and_attributes_are_the_parents(taskdb: TaskDB) -> None:
    parent = taskdb.submit_fan_out(
        "plus", [{"a": 1}], name="mine", tags=["t"], attributes={"k": 1}, tenant="acme"
    )
    (part,) = taskdb.trees.family(parent.id)
    assert (parent.name, parent.tags, dict(parent.attributes)) == ("mine", ("t",), {"k": 1})
    assert (part.name, part.tags, dict(part.attributes)) == ("plus", (), {})
    assert (part.tenant, part.input) == ("acme", {"a": 1, "b": 0})


def test_a_family_is_found_by_every_spelling_of_any_member(taskdb: TaskDB) -> None:
    parent = taskdb.submit_fan_out("plus", [{"a": n} for n in range(12)], on_join="echo")
    end_all(taskdb.store, part_ids(taskdb.store, parent.id))
    family = taskdb.trees.family(parent.id)
    assert [one.role for one in family] == ["part"] * 12 + ["handler"]
    for one in family:
        assert taskdb.get_task(one.key).id == taskdb.get_task(one.code).id == one.id
    assert [one.key for one in family] == sorted(one.key for one in family)
    for reference in (parent.key, family[3].key, family[-1].id):
        assert [one.id for one in taskdb.trees.family(reference)] == [one.id for one in family]
    page = taskdb.trees.family(family[0].code, after=9, limit=2)
    assert [one.position for one in page] == [10, 11]


@pytest.mark.parametrize("commits", [True, False])
def test_trees_are_in_the_callers_transaction(
    taskdb: TaskDB,
    store_url: str,
    commits: bool,  # noqa: FBT001 - a case
) -> None:
    engine = engine_on(store_url)
    with Session(engine) as session:
        parent = taskdb.submit_fan_out("plus", [{"a": 1}, {"a": 2}], session=session)
        empty = taskdb.submit_fan_out("plus", [], session=session)
        sequence = taskdb.submit_sequence("two", {"n": 1}, session=session)
        assert (parent.status, empty.status) == (S.PROCESSING, S.COMPLETED)
        with pytest.raises(TaskNotFound):
            taskdb.get_task(parent.id)
        if commits:
            session.commit()
        else:
            session.rollback()
    engine.dispose()
    if not commits:
        assert count(taskdb) == 0
        assert messages(taskdb) == []
        return
    step = newest_step(taskdb.store, sequence.id).id
    published = [*part_ids(taskdb.store, parent.id), step]
    until_queued(taskdb, *published)
    assert sorted(ids(messages(taskdb))) == sorted(published)


def test_the_same_payload_is_the_same_sequence(taskdb: TaskDB) -> None:
    first = taskdb.submit_sequence("two", {"n": 1})
    assert taskdb.submit_sequence("two", {"n": 1}).id == first.id
    # A model, and what it becomes in the row.
    assert taskdb.submit_sequence("two", Paper(n=1)).id == first.id
    assert taskdb.submit_sequence("two", {"n": "1"}).id != first.id
    end(taskdb.store, newest_step(taskdb.store, first.id).id, 5)
    failed = newest_step(taskdb.store, first.id).id
    end(taskdb.store, failed, well=False)
    again = taskdb.submit_sequence("two", {"n": 1})
    assert (again.id, again.status) == (first.id, S.PROCESSING)
    end(taskdb.store, failed, 6)
    done = taskdb.submit_sequence("two", {"n": 1})
    assert (done.id, done.status, done.result) == (first.id, S.COMPLETED, 6)
    with pytest.raises(SequenceAlreadyCompleted):
        taskdb.retry_task(first.id)


@pytest.mark.parametrize("commits", [True, False])
def test_a_failed_sequence_goes_on_in_the_callers_transaction(
    taskdb: TaskDB,
    store_url: str,
    commits: bool,  # noqa: FBT001 - a case
) -> None:
    first = taskdb.submit_sequence("two", {"n": 1})
    failed = newest_step(taskdb.store, first.id).id
    end(taskdb.store, failed, well=False)
    engine = engine_on(store_url)
    with Session(engine) as session:
        again = taskdb.submit_sequence("two", {"n": 1}, session=session)
        assert (again.id, again.status) == (first.id, S.PROCESSING)
        if commits:
            session.commit()
    engine.dispose()
    if commits:
        until_queued(taskdb, failed)
    assert taskdb.get_task(first.id).status is (S.PROCESSING if commits else S.FAILED)


def test_progress_names_the_step_and_fetches_a_large_result_once(taskdb: TaskDB) -> None:
    root = taskdb.submit_sequence("fan", {"n": 1})
    first = newest_step(taskdb.store, root.id).id
    assert taskdb.trees.sequence_progress(root.id).current == "echo"
    large = [{"a": n} for n in range(300)]
    packed = taskdb.store.payloads.pack(large, "large", "the result")
    taskdb.store.runs.claim(first, token="t", worker="w", max_attempts=1)
    taskdb.store.endings.complete_step(first, "t", packed, NO_REPORT, root.id)
    cache = MemoryStepCache()
    shown = taskdb.trees.sequence_progress(root.id, cache=cache)
    assert (shown.done, shown.total, shown.current) == (1, 2, "plus")
    assert taskdb.trees.counts(newest_step(taskdb.store, root.id).id).held == 299
    taskdb.store.payloads.discard(packed.reference)
    (kept,) = taskdb.trees.step_results(root.id, cache=cache)
    assert kept.result == large


def test_a_sequence_that_contains_itself_is_refused(taskdb: TaskDB) -> None:
    endless = Sequence("endless", ["echo"], registry=taskdb.types.registry)
    endless.steps = (Step(endless), Step(endless))
    with pytest.raises(InvalidInput, match="contains itself"):
        taskdb.submit_sequence("endless")
    with pytest.raises(SequenceNotFound):
        taskdb.submit_sequence("endles")
    with pytest.raises(InvalidInput, match="begins at once"):
        taskdb.submit_sequence("two", delay=3)
    assert count(taskdb) == 0


def test_a_tenant_neither_sees_nor_moves_the_trees_of_others(taskdb: TaskDB) -> None:
    mine, theirs = taskdb.for_tenant("mine"), taskdb.for_tenant("theirs")
    parent = mine.submit_fan_out("plus", [{"a": 1}])
    sequence = mine.submit_sequence("nested", 1)
    (part,) = mine.trees.family(parent.id)
    (step,) = mine.trees.family(sequence.id)
    assert {one.tenant for one in (parent, sequence, part, step)} == {"mine"}
    asks = (
        theirs.get_task,
        theirs.trees.family,
        theirs.trees.sub_tasks,
        theirs.trees.counts,
        theirs.trees.results,
        theirs.trees.sequence_progress,
        theirs.trees.step_results,
        theirs.cancel_task,
        theirs.retry_task,
    )
    for one in (parent, sequence, part, step):
        for ask in asks:
            for reference in (one.id, one.key, one.code):
                with pytest.raises(TaskNotFound):
                    ask(reference)
    assert theirs.cancel_tasks(tenant="mine", with_sub_tasks=True) == 0
    with pytest.raises(InvalidInput, match="out of the scope"):
        theirs.submit_fan_out("plus", [{"a": 1}], tenant="mine")
    assert mine.cancel_task(parent.id).status is S.CANCELED
    with pytest.raises(IllegalMove):
        mine.retry_task(step.id)


def test_a_unique_task_that_split_itself_and_failed_runs_its_bad_parts_again(
    taskdb: TaskDB,
) -> None:
    task_id = taskdb.submit_task("echo", {"file": 1}, unique_key="one").id
    store, task_type = taskdb.store, taskdb.types.registry.get("echo")
    assert store.runs.claim(task_id, token="t", worker="w", max_attempts=1).granted
    items = [{"a": 1}, {"a": 2}]
    assert taskdb.trees.split(task_id, "t", task_type, "", "plus", items, FanOut())
    good, bad = part_ids(store, task_id)
    end(store, good)
    end(store, bad, well=False)
    store.joins.join(task_id)
    assert taskdb.get_task(task_id).status is S.FAILED
    again = taskdb.submit_task("echo", {"file": 1}, unique_key="one")
    assert again.id == task_id
    assert taskdb.get_task(task_id).status is S.PROCESSING
    assert taskdb.get_task(good).status is S.COMPLETED
    assert taskdb.get_task(bad).status in {S.CREATED, S.QUEUED}
