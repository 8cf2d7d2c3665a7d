"""Fan-outs: how parts decide the end of their parent, and what a person does to either."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskdb.errors import IllegalMove
from taskdb.model.clock import FixedClock
from taskdb.model.entity import TaskRole
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.outcome import NO_REPORT
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from tests.cases import each
from tests.store.tasks import (
    DONE,
    HOUR,
    LEASE,
    OOPS,
    SOON,
    claim,
    create,
    draft,
    make_late,
    running,
)
from tests.store.trees import (
    TOLD,
    end,
    end_all,
    fan_out,
    handler,
    part_ids,
    payload,
    statuses,
    sub_tasks,
)

S = TaskStatus


@each(
    "spec, good, bad, end_of_parent",
    [
        ({}, 3, 0, S.COMPLETED),
        ({}, 3, 1, S.FAILED),
        ({"join": "all_settled"}, 0, 3, S.COMPLETED),
        ({"tolerate": 1}, 2, 1, S.COMPLETED),
        ({"tolerate": 1}, 1, 2, S.FAILED),
        ({"tolerate": 0}, 2, 1, S.FAILED),
        ({"tolerate": 0.5}, 2, 2, S.COMPLETED),
        ({"tolerate": 0.5}, 1, 2, S.FAILED),
        ({"tolerate": 9}, 0, 3, S.COMPLETED),
        ({"join": "fail_fast", "tolerate": 1}, 2, 1, S.COMPLETED),
    ],
    alone=True,
)
def test_the_policy_decides(
    store: Store, spec: dict[str, Any], good: int, bad: int, end_of_parent: TaskStatus
) -> None:
    parent = fan_out(store, good + bad, **spec)
    ids = part_ids(store, parent)
    end_all(store, ids[:bad], well=False)
    end_all(store, ids[bad:])
    found = store.tasks.get(parent, EVERYONE)
    assert found.status is end_of_parent
    if end_of_parent is S.COMPLETED:
        whole = {"total": good + bad, "succeeded": good, "failed": bad, "canceled": 0}
        assert found.result == whole
    else:
        assert found.error is not None and found.error.type == "JoinFailed"
        assert f"{bad} of {good + bad} sub-tasks failed" in found.error.message


def test_fail_fast_cancels_what_is_open(store: Store) -> None:
    parent = fan_out(store, 4, join="fail_fast")
    first, second, *_ = part_ids(store, parent)
    assert claim(store, second, token="runs")
    end(store, first, well=False)
    assert statuses(store, parent) == [S.FAILED, S.STARTED, S.CANCELED, S.CANCELED]
    assert store.runs.is_cancel_wanted(second, "runs")
    assert store.tasks.get(parent, EVERYONE).status is S.PROCESSING
    store.outcomes.cancel(second, "runs", OOPS)
    store.joins.settle(second)
    assert store.tasks.get(parent, EVERYONE).status is S.FAILED


def test_a_fan_out_that_shall_fail_fast_is_neglected_until_its_join(store: Store) -> None:
    parent = fan_out(store, 2, join="fail_fast")
    (first, _) = part_ids(store, parent)
    assert store.joins.neglected(10) == []
    assert claim(store, first)
    store.outcomes.fail(first, "token-1", OOPS)
    assert store.joins.neglected(10) == [parent]
    store.joins.join(parent)
    assert store.tasks.get(parent, EVERYONE).status is S.FAILED


def test_without_items_it_completes_at_once(store: Store) -> None:
    found = store.tasks.get(fan_out(store, 0), EVERYONE)
    assert found.status is S.COMPLETED
    assert found.result == {"total": 0, "succeeded": 0, "failed": 0, "canceled": 0}


def test_without_items_its_handler_still_runs(store: Store) -> None:
    parent = fan_out(store, 0, on_join=TOLD)
    assert store.tasks.get(parent, EVERYONE).status is S.FINISHED
    end(store, handler(store, parent, "on_join").id, {"mine": 1})
    assert store.tasks.get(parent, EVERYONE).status is S.COMPLETED
    assert store.tasks.get(parent, EVERYONE).result == {"mine": 1}


def test_a_handler_whose_message_was_lost_is_the_relays_after_the_grace(store_url: str) -> None:
    clock = FixedClock(datetime(2030, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        parent = fan_out(store, 0, on_join=TOLD)
        run = running(store)
        store.endings.finish(run.id, run.token, DONE, NO_REPORT, [TOLD, TOLD])
        waiting = {one.id for above in (parent, run.id) for one in sub_tasks(store, above)}
        clock.advance(store.units.grace)
        assert len(waiting) == 3
        assert {one.id for one in store.publications.lease_due(10, LEASE)} == waiting


def test_items_come_from_a_generator_over_several_batches(store: Store) -> None:
    parent = fan_out(store, 2_050)
    assert store.fan_outs.counts(parent, EVERYONE).by_status == {S.CREATED: 2_050}
    assert [
        one.position for one in store.tasks.sub_tasks(parent, EVERYONE, after=2_039, limit=20)
    ] == list(range(2_040, 2_050))


def test_nothing_is_there_when_the_items_break(store: Store) -> None:
    def items() -> Iterator[Any]:
        yield from (draft() for _ in range(1_500))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.submissions.create_fan_out(draft(), items(), FanOutSpec(part_type="part"), EVERYONE)
    assert store.database.query("SELECT id FROM taskdb_task", {}) == []


def test_a_window_lets_go_as_parts_end(store: Store) -> None:
    parent = fan_out(store, 5, max_concurrency=2)
    ids = part_ids(store, parent)

    def free() -> list[int]:
        return [n for n, one in enumerate(sub_tasks(store, parent)) if one.held_by is None]

    assert free() == [0, 1]
    assert not claim(store, ids[2])
    end(store, ids[0])
    store.joins.part_ended(parent, badly=False)
    assert free() == [0, 1, 2]
    store.interventions.cancel(ids[1], EVERYONE)
    assert free() == [0, 1, 2, 3]
    # Its process died: it runs again, and keeps its place.
    assert claim(store, ids[2])
    store.outcomes.crash(ids[2], "token-1", OOPS, delay=HOUR, max_crashes=3)
    store.joins.join(parent)
    assert free() == [0, 1, 2, 3]
    store.interventions.retry(ids[0], EVERYONE)
    store.joins.join(parent)
    assert store.tasks.get(ids[0], EVERYONE).held_by == "window"


def test_what_waits_for_a_person_does_not_block_the_window(store: Store) -> None:
    parent = fan_out(store, 2, max_concurrency=1)
    first, second = part_ids(store, parent)
    assert claim(store, first)
    store.outcomes.halt(first, "token-1", OOPS)
    assert store.joins.neglected(10) == [parent]
    store.joins.join(parent)
    end(store, second)
    assert store.tasks.get(parent, EVERYONE).status is S.PROCESSING
    store.interventions.retry(first, EVERYONE)
    end(store, first)
    assert store.tasks.get(parent, EVERYONE).status is S.COMPLETED


@pytest.mark.parametrize("verb", ["expire", "cancel"])
def test_what_ended_while_it_was_held_is_held_no_more(store: Store, verb: str) -> None:
    """A part that was retried by hand is held, and an old message of it may still arrive."""
    parent = fan_out(store, 2, max_concurrency=1)
    _, held = part_ids(store, parent)
    if verb == "expire":
        make_late(store, held)
        assert store.take_backs.expire(held, OOPS)
    else:
        store.interventions.cancel(held, EVERYONE)
    assert store.tasks.get(held, EVERYONE).held_by is None
    assert store.fan_outs.counts(parent, EVERYONE).held == 0


def test_time_is_up_for_the_whole(store_url: str) -> None:
    clock = FixedClock(datetime(2030, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        parent = fan_out(store, 2, timeout=60.0)
        first, second = part_ids(store, parent)
        assert claim(store, first)
        clock.advance(timedelta(seconds=59))
        assert store.joins.stop_overdue(10) == []
        clock.advance(timedelta(seconds=1))
        assert store.joins.stop_overdue(10) == [parent]
        assert store.tasks.get(second, EVERYONE).status is S.CANCELED
        assert store.tasks.get(parent, EVERYONE).status is S.PROCESSING
        assert store.joins.stop_overdue(10) == []
        store.outcomes.complete(first, "token-1", DONE)
        store.joins.settle(first)
        found = store.tasks.get(parent, EVERYONE)
        assert found.status is S.FAILED
        assert found.error is not None and found.error.type == "TimedOut"


def test_a_deadline_to_begin_by_is_none_for_the_parts(store_url: str) -> None:
    clock = FixedClock(datetime(2030, 1, 1, tzinfo=UTC))
    with Store(store_url, clock=clock).closing() as store:
        run = running(store, deadline_at=clock.at + HOUR)
        spec = FanOutSpec(part_type="part")
        assert store.fan_outs.split(run.id, run.token, lambda: [draft()], spec)
        clock.advance(2 * HOUR)
        assert store.joins.stop_overdue(10) == []


def test_a_body_splits_its_own_task_once(store: Store) -> None:
    run = running(store)
    spec = FanOutSpec(part_type="part")
    assert not store.fan_outs.split(run.id, "other", lambda: [draft()], spec)
    assert store.fan_outs.split(run.id, run.token, lambda: [draft(), draft()], spec)
    # As after an answer that was lost: it has split, and nothing is made twice.
    assert store.fan_outs.split(run.id, run.token, lambda: [draft()], spec)
    assert store.fan_outs.counts(run.id, EVERYONE).total == 2
    found = store.tasks.get(run.id, EVERYONE)
    assert (found.kind, found.waits_for, found.worker) == ("FAN_OUT", "parts", None)
    # Nobody waits with it: neither rescue, a dead process, nor a revocation takes it.
    assert store.take_backs.rescue(OOPS, lease=LEASE, limit=9, max_crashes=1) == {}
    assert store.outcomes.crash(run.id, run.token, OOPS, delay=HOUR, max_crashes=1) is None
    assert not store.take_backs.revoke(run.id, run.token, OOPS)
    end_all(store, part_ids(store, run.id))
    assert store.tasks.get(run.id, EVERYONE).status is S.COMPLETED


def test_a_body_that_failed_before_and_splits_its_task_now_is_not_failed_by_that(
    store: Store,
) -> None:
    run = running(store)
    store.outcomes.error(run.id, run.token, OOPS, SOON)
    assert claim(store, run.id, token="again")
    assert store.fan_outs.split(run.id, "again", lambda: [draft()], FanOutSpec(part_type="part"))
    end_all(store, part_ids(store, run.id))
    assert (store.tasks.get(run.id, EVERYONE).status, store.tasks.get(run.id, EVERYONE).error) == (
        S.COMPLETED,
        None,
    )


def test_a_canceled_run_may_not_split(store: Store) -> None:
    run = running(store)
    store.interventions.cancel(run.id, EVERYONE)
    assert not store.fan_outs.split(run.id, run.token, lambda: [draft()], FanOutSpec(part_type="p"))
    assert sub_tasks(store, run.id) == []


# --- by hand --------------------------------------------------------------------------------------


def test_a_retry_of_the_parent_runs_what_failed_and_joins_anew(store: Store) -> None:
    parent = fan_out(store, 3, on_join=TOLD)
    ids = part_ids(store, parent)
    end_all(store, ids[:2], well=False)
    end(store, ids[2])
    assert store.tasks.get(parent, EVERYONE).status is S.FAILED
    assert {one.id for one in store.interventions.retry(parent, EVERYONE)} == set(ids[:2])
    assert statuses(store, parent) == [S.CREATED, S.CREATED, S.COMPLETED]
    end_all(store, ids[:2])
    end(store, handler(store, parent, "on_join").id, 7)
    assert (store.tasks.get(parent, EVERYONE).status, store.tasks.get(parent, EVERYONE).result) == (
        S.COMPLETED,
        7,
    )
    assert store.tasks.get(ids[2], EVERYONE).attempt == 1


def test_a_retry_by_force_runs_every_part(store: Store) -> None:
    parent = fan_out(store, 2)
    ids = part_ids(store, parent)
    end_all(store, ids)
    store.interventions.retry(parent, EVERYONE)  # nothing failed, so it is over at once
    assert store.tasks.get(parent, EVERYONE).status is S.COMPLETED
    store.interventions.retry(parent, EVERYONE, force=True)
    assert statuses(store, parent) == [S.CREATED, S.CREATED]
    end_all(store, ids)
    assert [store.tasks.get(one, EVERYONE).attempt for one in ids] == [2, 2]


def test_a_handler_that_failed_is_followed_by_another(store: Store) -> None:
    parent = fan_out(store, 1, on_join=TOLD)
    end_all(store, part_ids(store, parent))
    first = handler(store, parent, "on_join").id
    end(store, first, well=False)
    assert store.tasks.get(parent, EVERYONE).status is S.FAILED
    store.interventions.retry(parent, EVERYONE)
    second = handler(store, parent, "on_join").id
    assert second != first
    # The one before it decides nothing any more.
    with pytest.raises(IllegalMove, match="retry a sub-task of"):
        store.interventions.retry(first, EVERYONE)
    end(store, second, 1)
    assert store.tasks.get(parent, EVERYONE).status is S.COMPLETED


def test_a_retried_handler_reopens_its_parent(store: Store) -> None:
    parent = fan_out(store, 1, on_join=TOLD)
    end_all(store, part_ids(store, parent))
    told = handler(store, parent, "on_join").id
    end(store, told, well=False)
    store.interventions.retry(told, EVERYONE)
    assert store.tasks.get(parent, EVERYONE).waits_for == "on_join"
    # While it runs, no part may: the end of the handler would not wait for it.
    with pytest.raises(IllegalMove, match="waiting for on_join"):
        store.interventions.retry(part_ids(store, parent)[0], EVERYONE)
    end(store, told, 5)
    assert store.tasks.get(parent, EVERYONE).result == 5


def test_a_halted_handler_is_retried_under_its_finished_parent(store: Store) -> None:
    parent = fan_out(store, 0, on_join=TOLD)
    told = handler(store, parent, "on_join").id
    assert claim(store, told)
    store.outcomes.halt(told, "token-1", OOPS)
    store.interventions.retry(told, EVERYONE)
    assert store.tasks.get(parent, EVERYONE).status is S.FINISHED
    end(store, told, 1)
    assert store.tasks.get(parent, EVERYONE).status is S.COMPLETED


def test_a_retried_part_reopens_what_failed_above_it(store: Store) -> None:
    root = fan_out(store, 1)
    (middle,) = part_ids(store, root)
    assert claim(store, middle, token="t")
    assert store.fan_outs.split(
        middle, "t", lambda: [draft(), draft()], FanOutSpec(part_type="part")
    )
    bad, good = part_ids(store, middle)
    end(store, good)
    end(store, bad, well=False)
    assert (store.tasks.get(root, EVERYONE).status, store.tasks.get(middle, EVERYONE).status) == (
        S.FAILED,
        S.FAILED,
    )
    store.interventions.retry(bad, EVERYONE)
    assert (store.tasks.get(root, EVERYONE).status, store.tasks.get(middle, EVERYONE).status) == (
        S.PROCESSING,
        S.PROCESSING,
    )
    end(store, bad)
    assert (store.tasks.get(root, EVERYONE).status, store.tasks.get(middle, EVERYONE).status) == (
        S.COMPLETED,
        S.COMPLETED,
    )


def test_a_part_is_not_retried_under_a_parent_that_ended_well(store: Store) -> None:
    parent = fan_out(store, 2, tolerate=1)
    bad, good = part_ids(store, parent)
    end(store, bad, well=False)
    end(store, good)
    for task_id in (bad, good):
        with pytest.raises(IllegalMove, match="which is COMPLETED"):
            store.interventions.retry(task_id, EVERYONE)
    finished = fan_out(store, 1, on_join=TOLD)
    (part,) = part_ids(store, finished)
    end(store, part)
    with pytest.raises(IllegalMove, match="which is FINISHED"):
        store.interventions.retry(part, EVERYONE)


def test_a_cancel_reaches_every_depth_and_the_parents_end_after(store: Store) -> None:
    root = fan_out(store, 2)
    middle, waits = part_ids(store, root)
    assert claim(store, middle, token="t")
    assert store.fan_outs.split(
        middle, "t", lambda: [draft(), draft()], FanOutSpec(part_type="part")
    )
    runs, also_waits = part_ids(store, middle)
    assert claim(store, runs, token="r")
    store.interventions.cancel(root, EVERYONE)
    assert [store.tasks.get(one, EVERYONE).status for one in (waits, also_waits)] == [
        S.CANCELED,
        S.CANCELED,
    ]
    assert [store.tasks.get(one, EVERYONE).status for one in (root, middle)] == [
        S.PROCESSING,
        S.PROCESSING,
    ]
    assert store.runs.is_cancel_wanted(runs, "r")
    store.outcomes.cancel(runs, "r", OOPS)
    store.joins.settle(runs)
    assert [store.tasks.get(one, EVERYONE).status for one in (root, middle)] == [
        S.CANCELED,
        S.CANCELED,
    ]


def test_a_canceled_parent_calls_no_handler(store: Store) -> None:
    parent = fan_out(store, 1, on_join=TOLD)
    (part,) = part_ids(store, parent)
    assert claim(store, part)
    store.interventions.cancel(parent, EVERYONE)
    store.outcomes.complete(part, "token-1", DONE)
    store.joins.settle(part)
    assert store.tasks.get(parent, EVERYONE).status is S.CANCELED
    assert sub_tasks(store, parent, TaskRole.HANDLER) == []


# --- handlers beside a type's own -----------------------------------------------------------------


def finished(store: Store, handlers: int = 2) -> str:
    run = running(store)
    said = store.endings.finish(run.id, run.token, DONE, NO_REPORT, [TOLD] * handlers)
    assert said is S.FINISHED
    return run.id


def test_a_task_is_over_when_its_handlers_are(store: Store) -> None:
    task_id = finished(store)
    first, second = sub_tasks(store, task_id)
    end(store, first.id)
    assert store.tasks.get(task_id, EVERYONE).status is S.FINISHED
    end(store, second.id)
    assert (
        store.tasks.get(task_id, EVERYONE).status,
        store.tasks.get(task_id, EVERYONE).result,
    ) == (
        S.COMPLETED,
        DONE.value,
    )


def test_a_repeated_end_runs_no_handler_again(store: Store) -> None:
    run = running(store)
    for _ in range(2):
        store.endings.finish(run.id, run.token, DONE, NO_REPORT, [TOLD, TOLD])
    first, _ = sub_tasks(store, run.id)
    end(store, first.id)
    assert store.endings.finish(run.id, run.token, DONE, NO_REPORT, [TOLD, TOLD]) is S.FINISHED
    assert statuses(store, run.id) == [S.COMPLETED, S.CREATED]


def test_a_failed_handler_fails_its_task_and_alone_runs_again(store: Store) -> None:
    task_id = finished(store)
    first, second = sub_tasks(store, task_id)
    end(store, first.id)
    end(store, second.id, well=False)
    assert store.tasks.get(task_id, EVERYONE).status is S.FAILED
    store.interventions.retry(task_id, EVERYONE)
    assert statuses(store, task_id) == [S.COMPLETED, S.CREATED]
    end(store, second.id)
    assert (
        store.tasks.get(task_id, EVERYONE).status,
        store.tasks.get(task_id, EVERYONE).result,
    ) == (
        S.COMPLETED,
        DONE.value,
    )


def test_a_body_that_runs_again_gets_handlers_of_its_own(store: Store) -> None:
    task_id = finished(store, 1)
    (first,) = sub_tasks(store, task_id)
    end(store, first.id, well=False)
    store.interventions.retry(task_id, EVERYONE, force=True)
    # Its parent would not wait for it.
    with pytest.raises(IllegalMove, match="which is CREATED"):
        store.interventions.retry(first.id, EVERYONE)
    assert claim(store, task_id, token="again")
    store.endings.finish(task_id, "again", payload(2), NO_REPORT, [TOLD])
    old, new = sub_tasks(store, task_id)
    assert (old.status, new.status) == (S.FAILED, S.CREATED)
    end(store, new.id)
    assert (
        store.tasks.get(task_id, EVERYONE).status,
        store.tasks.get(task_id, EVERYONE).result,
    ) == (
        S.COMPLETED,
        2,
    )


def test_a_resubmitted_task_forgets_the_handlers_of_its_last_run(store: Store) -> None:
    task_id = create(store, unique_key="k")
    assert claim(store, task_id, token="t")
    store.endings.finish(task_id, "t", DONE, NO_REPORT, [TOLD])
    end(store, sub_tasks(store, task_id)[0].id, well=False)
    (again,) = store.submissions.create([draft(unique_key="k")], EVERYONE)
    assert again.id == task_id
    assert claim(store, task_id, token="u")
    store.outcomes.fail(task_id, "u", OOPS)
    store.interventions.retry(task_id, EVERYONE)
    # Its body failed, so it is the body that runs again.
    assert (
        store.tasks.get(task_id, EVERYONE).status,
        store.tasks.get(task_id, EVERYONE).waits_for,
    ) == (
        S.CREATED,
        None,
    )


def test_a_part_that_was_to_be_canceled_is_joined_when_its_worker_stops(store: Store) -> None:
    parent_id = fan_out(store, 1, join="all_settled")
    (part_id,) = part_ids(store, parent_id)
    assert claim(store, part_id)
    store.interventions.cancel(part_id, EVERYONE)
    assert store.endings.hand_back_worker("w-1", "shutdown") == 1
    assert store.tasks.get(part_id, EVERYONE).status is TaskStatus.CANCELED
    assert store.tasks.get(parent_id, EVERYONE).status.is_terminal
