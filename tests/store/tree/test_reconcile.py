"""Reconcile: what should follow from the rows and did not, each case by its name."""

import pytest

from taskdb.model.entity import TaskRole
from taskdb.model.fan_out import FanOutSpec, HandlerSpec
from taskdb.model.json_text import encode
from taskdb.model.outcome import NO_REPORT
from taskdb.model.status import TaskStatus as S
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from taskdb_beat.loops.reconcile import Reconcile
from tests.cases import each
from tests.store.tasks import DONE, OOPS, claim, create, draft, running, write
from tests.store.trees import end, fan_out, newest_step, part_ids, sequence, step, sub_tasks

HANDLER = HandlerSpec("after", "taskdb", 5)


def reconcile(store: Store) -> None:
    assert Reconcile(store).run_once() is False


def test_a_sequence_whose_next_step_is_missing_gets_it(store: Store) -> None:
    root = sequence(store, step(), step())
    first = newest_step(store, root).id
    assert claim(store, first)
    # As a process does that dies before what follows.
    assert store.outcomes.complete(first, "token-1", DONE) is S.COMPLETED
    assert len(sub_tasks(store, root)) == 1
    reconcile(store)
    assert [one.status for one in sub_tasks(store, root)] == [S.COMPLETED, S.CREATED]
    assert newest_step(store, root).input == DONE.value
    reconcile(store)
    assert len(sub_tasks(store, root)) == 2


def test_a_finished_fan_out_without_its_handler_gets_one(store: Store) -> None:
    spec = FanOutSpec(part_type="sum", on_join=HANDLER)
    parent = store.submissions.create_fan_out(draft(), [draft()], spec, EVERYONE).created.id
    end(store, sub_tasks(store, parent, TaskRole.PART)[0].id)
    store.joins.join(parent)
    assert store.tasks.get(parent, EVERYONE).status is S.FINISHED
    lost = handlers(store, parent)
    write(store, "DELETE FROM taskdb_task WHERE id = :id", id=lost[0])
    reconcile(store)
    found = handlers(store, parent)
    assert len(found) == 1 and found != lost
    end(store, found[0])
    reconcile(store)
    assert store.tasks.get(parent, EVERYONE).status is S.COMPLETED


def test_a_finished_task_without_the_handlers_of_its_type_gets_them(store: Store) -> None:
    run = running(store)
    assert store.endings.finish(run.id, run.token, DONE, NO_REPORT, [HANDLER]) is S.FINISHED
    lost = handlers(store, run.id)
    write(store, "DELETE FROM taskdb_task WHERE id = :id", id=lost[0])
    reconcile(store)
    found = handlers(store, run.id)
    assert len(found) == 1 and found != lost
    end(store, found[0])
    reconcile(store)
    assert store.tasks.get(run.id, EVERYONE).status is S.COMPLETED


@pytest.mark.parametrize("well", [True, False])
def test_a_parent_whose_parts_are_all_over_ends(store: Store, *, well: bool) -> None:
    spec = FanOutSpec(part_type="sum")
    parent = store.submissions.create_fan_out(
        draft(), [draft(), draft()], spec, EVERYONE
    ).created.id
    for one in sub_tasks(store, parent):
        assert claim(store, one.id)
        write(
            store,
            f"UPDATE taskdb_task SET status = '{'COMPLETED' if well else 'FAILED'}' WHERE id = :id",
            id=one.id,
        )
    assert store.tasks.get(parent, EVERYONE).status is S.PROCESSING
    reconcile(store)
    assert store.tasks.get(parent, EVERYONE).status is (S.COMPLETED if well else S.FAILED)


def test_what_waits_for_nothing_of_the_kind_is_left_alone(store: Store) -> None:
    alone = create(store)
    spec = FanOutSpec(part_type="sum")
    parent = store.submissions.create_fan_out(draft(), [draft()], spec, EVERYONE).created.id
    before = [store.tasks.history(one, EVERYONE) for one in (alone, parent)]
    reconcile(store)
    assert [store.tasks.history(one, EVERYONE) for one in (alone, parent)] == before


def test_a_healthy_window_is_not_asked(store: Store) -> None:
    parent = fan_out(store, 5, max_concurrency=2)
    assert store.joins.neglected(10) == []
    first, *_ = part_ids(store, parent)
    assert claim(store, first)
    assert store.joins.neglected(10) == []
    assert store.outcomes.complete(first, "token-1", DONE) is S.COMPLETED
    # Nobody has followed the end of this part.
    assert store.joins.neglected(10) == [parent]
    reconcile(store)
    assert store.joins.neglected(10) == []


@each("tolerate, bad", [(None, 1), (2, 3), (0.5, 3), (0.29, 2)], alone=True)
def test_a_fan_out_that_bears_its_failures_is_not_asked(
    store: Store, tolerate: float | None, bad: int
) -> None:
    parent = fan_out(store, 5, join="fail_fast", tolerate=tolerate)
    for one in part_ids(store, parent)[: bad - 1]:
        fail(store, one)
    assert store.joins.neglected(10) == []
    fail(store, part_ids(store, parent)[bad - 1])
    assert store.joins.neglected(10) == [parent]
    reconcile(store)
    assert store.joins.neglected(10) == []
    assert store.tasks.get(parent, EVERYONE).status is S.FAILED


def test_a_parent_that_stops_is_not_asked_until_its_bodies_are_over(store: Store) -> None:
    parent = fan_out(store, 2, join="fail_fast")
    first, second = part_ids(store, parent)
    assert claim(store, second, token="runs")
    fail(store, first)
    reconcile(store)
    assert store.joins.neglected(10) == []
    store.outcomes.cancel(second, "runs", OOPS)
    assert store.joins.neglected(10) == [parent]


@each(
    "spec",
    [
        {"fan_out": {"part_type": "part", "max_concurrency": "many"}},
        {"fan_out": {"part_type": "part", "tolerate": [], "join": "fail_fast"}},
        {"fan_out": "none"},
        [],
        None,
    ],
    alone=True,
)
def test_a_spec_that_cannot_be_read_keeps_no_other_parent_from_being_found(
    store: Store, spec: object
) -> None:
    bad, good = fan_out(store, 3, max_concurrency=1), fan_out(store, 1)
    json = store.database.dialect.json("spec")
    sql = f"UPDATE taskdb_task SET spec = {json} WHERE id = :id"
    write(store, sql, id=bad, spec=None if spec is None else encode(spec, "spec"))
    write(store, "UPDATE taskdb_task SET status = 'COMPLETED' WHERE parent_id = :id", id=good)
    assert good in store.joins.neglected(10)


def test_text_that_is_no_json_keeps_no_other_parent_from_being_found(sqlite_url: str) -> None:
    with Store(sqlite_url).closing() as store:
        bad, good = fan_out(store, 3, max_concurrency=1), fan_out(store, 1)
        write(store, "UPDATE taskdb_task SET spec = '{\"fan_out\"' WHERE id = :id", id=bad)
        write(store, "UPDATE taskdb_task SET status = 'COMPLETED' WHERE parent_id = :id", id=good)
        assert good in store.joins.neglected(10)


def test_a_pass_looks_at_a_page_and_goes_on_at_once_only_where_it_found_something(
    store: Store,
) -> None:
    parents = [fan_out(store, 1) for _ in range(5)]
    loop = Reconcile(store, look=2)
    assert [loop.run_once() for _ in range(3)] == [False, False, False]
    write(store, "UPDATE taskdb_task SET status = 'COMPLETED' WHERE parent_id = :id", id=parents[2])
    assert store.joins.neglected_page(2) == ([], parents[1])
    assert [loop.run_once() for _ in range(2)] == [False, True]
    assert store.tasks.get(parents[2], EVERYONE).status is S.COMPLETED
    assert Reconcile(store, look=2, is_whole=True).run_once() is True


def fail(store: Store, task_id: str) -> None:
    """A part ends badly, and its process dies before the join."""
    assert claim(store, task_id)
    assert store.outcomes.fail(task_id, "token-1", OOPS) is S.FAILED


def handlers(store: Store, parent: str) -> list[str]:
    return [one.id for one in sub_tasks(store, parent, TaskRole.HANDLER)]
