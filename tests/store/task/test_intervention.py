"""What a person does: cancel and retry, one task or many, within the tenants of a scope."""

from collections.abc import Callable
from typing import Any

import pytest

from taskdb.errors import IllegalMove, TaskNotFound
from taskdb.model.status import MOVES, RUNNING, WAITING, TaskStatus
from taskdb.store.contract import EVERYONE, Scope
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from tests.cases import each
from tests.store.tasks import (
    HOUR,
    LEASE,
    at_once,
    create,
    draft,
    in_status,
    moves,
    publication,
    row,
    running,
    write,
)

S = TaskStatus
ACME = Scope(("acme",))
OTHER = Scope(("other", "third"))
NOBODY = Scope(())


@each("status", TaskStatus)
def test_what_waits_is_canceled_and_what_runs_is_asked(store: Store, status: TaskStatus) -> None:
    run = in_status(store, status)
    before = row(store, run.id), moves(store, run.id)
    if status in WAITING | {S.HALTED, S.FINISHED}:
        store.interventions.cancel(run.id, EVERYONE)
        assert store.tasks.get(run.id, EVERYONE).status is S.CANCELED
        assert store.tasks.get(run.id, EVERYONE).ended_at is not None
        assert moves(store, run.id) == [*before[1], (status, "CANCELED")]
    elif status in RUNNING:
        assert not store.runs.is_cancel_wanted(run.id, run.token)
        store.interventions.cancel(run.id, EVERYONE)
        assert store.tasks.get(run.id, EVERYONE).status is status
        assert store.runs.is_cancel_wanted(run.id, run.token)
        assert moves(store, run.id) == [*before[1], (status, status)]
    elif status is S.CANCELED:
        store.interventions.cancel(run.id, EVERYONE)
        assert (row(store, run.id), moves(store, run.id)) == before
    else:
        with pytest.raises(IllegalMove, match=f"cannot cancel task {run.id} that is {status}"):
            store.interventions.cancel(run.id, EVERYONE)
        assert (row(store, run.id), moves(store, run.id)) == before


def test_asking_twice_to_cancel_does_not_prolong_the_grace(store: Store) -> None:
    run = running(store)
    store.interventions.cancel(run.id, EVERYONE)
    asked = store.tasks.get(run.id, EVERYONE).cancel_requested_at
    store.interventions.cancel(run.id, EVERYONE)
    assert asked is not None
    assert store.tasks.get(run.id, EVERYONE).cancel_requested_at == asked


def test_two_who_cancel_at_once_both_succeed(store: Store) -> None:
    for _ in range(10):
        task_id = create(store)
        at_once(lambda _, task_id=task_id: store.interventions.cancel(task_id, EVERYONE), 2)  # type: ignore[misc]
        assert store.tasks.get(task_id, EVERYONE).status is S.CANCELED
        assert len(moves(store, task_id)) == 2


@each("status", TaskStatus)
def test_what_ended_or_waits_is_retried_with_a_whole_budget(
    store: Store, status: TaskStatus
) -> None:
    run = in_status(store, status)
    before = row(store, run.id), moves(store, run.id)
    if status not in MOVES["retry"].sources:
        with pytest.raises(IllegalMove, match=f"cannot retry task {run.id} that is {status}"):
            store.interventions.retry(run.id, EVERYONE)
        assert (row(store, run.id), moves(store, run.id)) == before
        return
    (item,) = store.interventions.retry(run.id, EVERYONE)
    task = store.tasks.get(run.id, EVERYONE)
    assert item == publication(store, run.id)
    assert task.status is S.CREATED
    assert (task.attempt, task.attempts_used, task.crashes) == (before[0]["attempt"], 0, 0)
    assert (task.result, task.error, task.run_at, task.ended_at) == (None, None, None, None)
    assert (task.worker, task.cancel_requested_at) == (None, None)
    assert moves(store, run.id) == [*before[1], (status, "CREATED")]
    assert store.publications.lease_due(10, LEASE) == []  # for who retries publishes it
    assert store.publications.mark_queued([item]) == {run.id}


def test_a_retried_task_that_was_wanted_canceled_may_run(store: Store) -> None:
    run = running(store)
    store.interventions.cancel(run.id, EVERYONE)
    store.outcomes.snooze(run.id, run.token, HOUR)
    assert store.tasks.get(run.id, EVERYONE).status is S.CANCELED
    store.interventions.retry(run.id, EVERYONE)
    assert store.runs.claim(run.id, token="t2", worker="w", max_attempts=3).granted
    assert not store.runs.is_cancel_wanted(run.id, "t2")


@each("task_id", ["01936e4b-7c00-7000-8000-0123456789ab", "no-id", ""])
def test_there_is_nothing_to_move_where_there_is_no_task(store: Store, task_id: str) -> None:
    for act in (store.interventions.cancel, store.interventions.retry, store.tasks.get):
        with pytest.raises(TaskNotFound):
            act(task_id, EVERYONE)


def test_many_are_moved_by_a_filter_in_batches(store: Store) -> None:
    store.submissions.create([draft(type="many") for _ in range(2_500)], EVERYONE)
    kept = create(store, type="other")
    assert store.bulk.cancel(Filter(type="many"), EVERYONE) == 2_500
    assert store.bulk.cancel(Filter(type="many"), EVERYONE) == 0
    assert store.tasks.get(kept, EVERYONE).status is S.CREATED
    batches = [
        batch for _, batch in store.bulk.retry(Filter(type="many", status=(S.CANCELED,)), EVERYONE)
    ]
    assert [len(batch) for batch in batches] == [1_000, 1_000, 500]
    found = write(store, "SELECT status, count(*) AS n FROM taskdb_task GROUP BY status")
    assert [(one["status"], one["n"]) for one in found] == [("CREATED", 2_501)]
    events = write(store, "SELECT count(*) AS n FROM taskdb_event")
    assert events[0]["n"] == 2_501 + 2 * 2_500


def test_a_filter_moves_only_what_may_be_moved(store: Store) -> None:
    runs = {status: in_status(store, status) for status in TaskStatus}
    before = {status: row(store, run.id) for status, run in runs.items()}
    retried = [item.id for _, batch in store.bulk.retry(Filter(), EVERYONE) for item in batch]
    assert set(retried) == {runs[status].id for status in MOVES["retry"].sources}
    for status in set(TaskStatus) - MOVES["retry"].sources:
        assert row(store, runs[status].id) == before[status]
    assert store.bulk.cancel(Filter(), EVERYONE) == len(TaskStatus)


def test_two_who_move_the_same_rows_never_lock_each_other_out(store: Store) -> None:
    store.submissions.create([draft() for _ in range(400)], EVERYONE)
    canceled = at_once(lambda _: store.bulk.cancel(Filter(), EVERYONE), 4)
    assert sum(canceled) == 400


def test_two_who_name_the_same_rows_in_opposite_orders_do_not_either(store: Store) -> None:
    ids = [one.id for one in store.submissions.create([draft() for _ in range(600)], EVERYONE)]
    items = store.publications.find(ids)
    for _ in range(4):
        marked = at_once(
            lambda n: store.publications.mark_queued(items if n % 2 else items[::-1]), 4
        )
        assert sorted(task_id for part in marked for task_id in part) == sorted(ids)
        write(store, "UPDATE taskdb_task SET status = 'CREATED'")


# --- scopes ---------------------------------------------------------------------------------------


READS: dict[str, Callable[[Store, str, Scope], Any]] = {
    "get": lambda store, task_id, scope: store.tasks.get(task_id, scope),
    "cancel": lambda store, task_id, scope: store.interventions.cancel(task_id, scope),
    "retry": lambda store, task_id, scope: store.interventions.retry(task_id, scope),
    "get_sub_task": lambda store, task_id, scope: store.tasks.get_sub_task(task_id, 1, scope),
}


@each("scope", [OTHER, NOBODY], ids=["other", "nobody"])
@each("way", READS)
def test_a_task_of_another_tenant_is_not_found(store: Store, way: str, scope: Scope) -> None:
    run = in_status(store, S.FAILED)
    part = create(store, parent_id=run.id, position=1)
    before = row(store, run.id), row(store, part), moves(store, run.id)
    with pytest.raises(TaskNotFound):
        READS[way](store, run.id, scope)
    assert (row(store, run.id), row(store, part), moves(store, run.id)) == before


@each("scope", [OTHER, NOBODY], ids=["other", "nobody"], alone=True)
def test_lists_and_bulk_verbs_leave_other_tenants_alone(store: Store, scope: Scope) -> None:
    run = in_status(store, S.FAILED)
    waiting = create(store)
    for chosen in (Filter(), Filter(tenant="acme"), Filter(with_sub_tasks=True)):
        assert store.tasks.page(chosen, scope, limit=10) == []
        assert store.bulk.cancel(chosen, scope) == 0
        assert list(store.bulk.retry(chosen, scope)) == []
    assert store.tasks.history(run.id, scope) == []
    assert store.tasks.events_after(None, 100, scope).events == ()
    assert store.tasks.get(run.id, EVERYONE).status is S.FAILED
    assert store.tasks.get(waiting, EVERYONE).status is S.CREATED


def test_the_own_tenant_is_seen_and_moved(store: Store) -> None:
    run = in_status(store, S.FAILED)
    part = create(store, parent_id=run.id, position=1)
    theirs = create(store, tenant="other")
    assert store.tasks.get(run.id, ACME).id == run.id
    assert store.tasks.get_sub_task(run.id, 1, ACME).id == part
    assert [task.id for task in store.tasks.page(Filter(), ACME, limit=10)] == [run.id]
    assert len(store.tasks.history(run.id, ACME)) == 3
    assert {event.tenant for event in store.tasks.events_after(None, 100, ACME).events} == {"acme"}
    assert [item.id for item in store.interventions.retry(run.id, ACME)] == [run.id]
    assert store.bulk.cancel(Filter(), ACME) == 1
    assert store.tasks.get(theirs, EVERYONE).status is S.CREATED


def test_a_scope_of_several_tenants_sees_them_all(store: Store) -> None:
    ids = [create(store, tenant=tenant) for tenant in ("acme", "other", "third")]
    seen = [task.id for task in store.tasks.page(Filter(), OTHER, limit=10, order="oldest")]
    assert seen == ids[1:]
