"""Reconcile: what should follow from the rows and did not, each case by its name."""

import pytest

from taskdb.entity import TaskRole
from taskdb.fan_out import FanOutSpec, HandlerSpec
from taskdb.status import TaskStatus as S
from taskdb.store.contract import NO_REPORT
from taskdb.store.store import Store
from taskdb_beat.reconcile import Reconcile
from tests.store.tasks import DONE, claim, create, draft, running, write
from tests.store.trees import end, newest_step, sequence, step, sub_tasks

HANDLER = HandlerSpec("after", "taskdb", 5)


def reconcile(store: Store) -> None:
    assert Reconcile(store).run_once() is False


def test_a_sequence_whose_next_step_is_missing_gets_it(store: Store) -> None:
    root = sequence(store, step(), step())
    first = newest_step(store, root).id
    assert claim(store, first)
    # As a process does that dies before what follows.
    assert store.complete(first, "token-1", DONE) is S.COMPLETED
    assert len(sub_tasks(store, root)) == 1
    reconcile(store)
    assert [one.status for one in sub_tasks(store, root)] == [S.COMPLETED, S.CREATED]
    assert newest_step(store, root).input == DONE.value
    reconcile(store)
    assert len(sub_tasks(store, root)) == 2


def test_a_finished_fan_out_without_its_handler_gets_one(store: Store) -> None:
    spec = FanOutSpec(part_type="sum", on_join=HANDLER)
    parent = store.create_fan_out(draft(), [draft()], spec).created.id
    end(store, sub_tasks(store, parent, TaskRole.PART)[0].id)
    store.join(parent)
    assert store.get(parent).status is S.FINISHED
    lost = handlers(store, parent)
    write(store, "DELETE FROM task WHERE id = :id", id=lost[0])
    reconcile(store)
    found = handlers(store, parent)
    assert len(found) == 1 and found != lost
    end(store, found[0])
    reconcile(store)
    assert store.get(parent).status is S.COMPLETED


def test_a_finished_task_without_the_handlers_of_its_type_gets_them(store: Store) -> None:
    run = running(store)
    assert store.finish(run.id, run.token, DONE, NO_REPORT, [HANDLER]) is S.FINISHED
    lost = handlers(store, run.id)
    write(store, "DELETE FROM task WHERE id = :id", id=lost[0])
    reconcile(store)
    found = handlers(store, run.id)
    assert len(found) == 1 and found != lost
    end(store, found[0])
    reconcile(store)
    assert store.get(run.id).status is S.COMPLETED


@pytest.mark.parametrize("well", [True, False])
def test_a_parent_whose_parts_are_all_over_ends(store: Store, *, well: bool) -> None:
    spec = FanOutSpec(part_type="sum")
    parent = store.create_fan_out(draft(), [draft(), draft()], spec).created.id
    for one in sub_tasks(store, parent):
        assert claim(store, one.id)
        write(
            store,
            f"UPDATE task SET status = '{'COMPLETED' if well else 'FAILED'}' WHERE id = :id",
            id=one.id,
        )
    assert store.get(parent).status is S.PROCESSING
    reconcile(store)
    assert store.get(parent).status is (S.COMPLETED if well else S.FAILED)


def test_what_waits_for_nothing_of_the_kind_is_left_alone(store: Store) -> None:
    alone = create(store)
    spec = FanOutSpec(part_type="sum")
    parent = store.create_fan_out(draft(), [draft()], spec).created.id
    before = [store.history(one) for one in (alone, parent)]
    reconcile(store)
    assert [store.history(one) for one in (alone, parent)] == before


def handlers(store: Store, parent: str) -> list[str]:
    return [one.id for one in sub_tasks(store, parent, TaskRole.HANDLER)]
