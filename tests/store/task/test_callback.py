"""A task that waits for the outside: called back before, at and after the end of its body."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskdb.errors import CallbackRefused, IllegalMove
from taskdb.model.clock import FixedClock
from taskdb.model.entity import TaskError, TaskRole
from taskdb.model.fan_out import HandlerSpec
from taskdb.model.outcome import NO_REPORT
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE, Scope
from taskdb.store.payload.payload import Payload
from taskdb.store.store import Store
from taskdb.store.tree.callback import Answer, digest_of
from tests.store.tasks import (
    HOUR,
    OOPS,
    SOON,
    Run,
    claim,
    create,
    draft,
    moves,
    row,
    running,
    write,
)
from tests.store.trees import end, fan_out, handler, newest_step, part_ids, payload, sequence, step

SECRET = digest_of("a token")
OTHER = digest_of("another token")
PAID = Answer(Payload({"paid": 7}, '{"paid":7}'))
BROKE = Answer(Payload(None, None), TaskError("CallbackFailed", "no money"))


def expecting(store: Store, deadline: Any = None, digest: str = SECRET, **values: Any) -> Run:
    """A run that has given its token away."""
    run = running(store, **values)
    assert store.callbacks.expect(run.id, run.token, digest, deadline)
    return run


def waiting(store: Store, deadline: Any = None, **values: Any) -> Run:
    """A task whose body is over, and that waits."""
    run = expecting(store, deadline, **values)
    assert store.callbacks.wait(run.id, run.token, NO_REPORT, []) is TaskStatus.PROCESSING
    return run


def run_and_wait(store: Store, task_id: str, token: str) -> Run:
    """Run a task that exists, up to its wait."""
    run = Run(task_id, token)
    assert claim(store, run.id, run.token)
    assert store.callbacks.expect(run.id, run.token, digest_of(token), None)
    assert store.callbacks.wait(run.id, run.token, NO_REPORT, []) is TaskStatus.PROCESSING
    return run


def test_it_waits_without_a_worker_and_completes_with_the_output(store: Store) -> None:
    run = waiting(store)
    found = store.tasks.get(run.id, EVERYONE)
    assert (found.status, found.waits_for, found.worker) == ("PROCESSING", "callback", None)
    assert store.callbacks.resume(SECRET, PAID, EVERYONE) == run.id
    found = store.tasks.get(run.id, EVERYONE)
    assert (found.status, found.inline_result, found.waits_for) == (
        TaskStatus.COMPLETED,
        {"paid": 7},
        None,
    )
    assert [status for _, status in moves(store, run.id)] == [
        "CREATED",
        "STARTED",
        "PROCESSING",
        "COMPLETED",
    ]


def test_an_error_from_outside_fails_it(store: Store) -> None:
    run = waiting(store)
    store.callbacks.resume(SECRET, BROKE, EVERYONE)
    found = store.tasks.get(run.id, EVERYONE)
    assert found.status is TaskStatus.FAILED
    assert found.error is not None and found.error.message == "no money"


@pytest.mark.parametrize(
    ("answer", "status", "result"), [(PAID, "COMPLETED", {"paid": 7}), (BROKE, "FAILED", None)]
)
def test_an_answer_that_comes_before_the_end_of_the_body_waits_for_it(
    store: Store, answer: Answer, status: str, result: Any
) -> None:
    run = expecting(store)
    store.callbacks.resume(SECRET, answer, EVERYONE)
    assert (store.tasks.get(run.id, EVERYONE).status, store.tasks.get(run.id, EVERYONE).worker) == (
        "STARTED",
        "w-1",
    )
    with pytest.raises(CallbackRefused):
        store.callbacks.resume(SECRET, PAID, EVERYONE)
    for _ in range(2):
        # The second time, as if the answer to the first had been lost.
        assert store.callbacks.wait(run.id, run.token, NO_REPORT, []) == status
    found = store.tasks.get(run.id, EVERYONE)
    assert (found.status, found.inline_result) == (status, result)
    assert (found.error is not None) is (result is None)


def test_an_answer_is_not_lost_with_the_run_that_it_came_to(store: Store) -> None:
    run = expecting(store)
    store.callbacks.resume(SECRET, PAID, EVERYONE)
    store.outcomes.crash(run.id, run.token, OOPS, delay=SOON, max_crashes=3)
    again = store.runs.claim(run.id, token="t-2", worker="w-2", max_attempts=3)
    assert again.granted and again.is_called_back
    assert store.callbacks.wait(run.id, "t-2", NO_REPORT, []) is TaskStatus.COMPLETED
    assert store.tasks.get(run.id, EVERYONE).inline_result == {"paid": 7}


@pytest.mark.parametrize(
    ("answer", "status", "result"), [(PAID, "COMPLETED", {"paid": 7}), (BROKE, "FAILED", None)]
)
def test_an_answer_is_not_lost_with_the_last_attempt(
    store: Store, answer: Answer, status: str, result: Any
) -> None:
    """It came after the body had raised, and before that was written."""
    run = expecting(store)
    store.callbacks.resume(SECRET, answer, EVERYONE)
    for _ in range(2):
        assert store.outcomes.fail(run.id, run.token, OOPS) is TaskStatus.ERRORED
    assert [one.id for one in store.publications.lease_due(10, HOUR)] == [run.id]
    last = store.runs.claim(run.id, token="t-2", worker="w-2", max_attempts=1)
    assert last.granted and last.is_called_back
    assert store.callbacks.wait(run.id, "t-2", NO_REPORT, []) == status
    found = store.tasks.get(run.id, EVERYONE)
    assert (found.inline_result, found.ended_at is not None) == (result, True)


def test_a_body_that_fails_unanswered_has_failed(store: Store) -> None:
    run = expecting(store)
    assert store.outcomes.fail(run.id, run.token, OOPS) is TaskStatus.FAILED
    with pytest.raises(CallbackRefused):
        store.callbacks.resume(SECRET, PAID, EVERYONE)


def test_a_token_is_refused_that_is_wrong_used_late_or_of_another_tenant(store_url: str) -> None:
    now = datetime(2031, 5, 4, 10, tzinfo=UTC)
    clock = FixedClock(now)
    with Store(store_url, clock=clock).closing() as store:
        waiting(store, HOUR)
        for digest, scope in ((OTHER, Scope()), (SECRET, Scope(("globex",)))):
            with pytest.raises(CallbackRefused):
                store.callbacks.resume(digest, PAID, scope)
        clock.advance(HOUR)
        with pytest.raises(CallbackRefused) as late:
            store.callbacks.resume(SECRET, PAID, EVERYONE)
        run = waiting(store, digest=OTHER)
        assert store.callbacks.resume(OTHER, PAID, Scope(("acme",))) == run.id
        with pytest.raises(CallbackRefused) as used:
            store.callbacks.resume(OTHER, PAID, EVERYONE)
        assert str(used.value) == str(late.value)


@pytest.mark.parametrize("is_moment", [True, False])
def test_nobody_called_back_in_time(store_url: str, *, is_moment: bool) -> None:
    now = datetime(2031, 5, 4, 10, tzinfo=UTC)
    clock = FixedClock(now)
    with Store(store_url, clock=clock).closing() as store:
        run = waiting(store, now + HOUR if is_moment else HOUR)
        patient = waiting(store, digest=OTHER)
        clock.advance(HOUR - timedelta(seconds=1))
        assert store.callbacks.expire(10) == []
        clock.advance(timedelta(seconds=1))
        assert store.callbacks.expire(10) == [run.id]
        assert store.callbacks.expire(10) == []
        found = store.tasks.get(run.id, EVERYONE)
        assert found.status is TaskStatus.FAILED
        assert found.error is not None and "callback deadline passed" in found.error.message
        assert store.tasks.get(patient.id, EVERYONE).status is TaskStatus.PROCESSING


def test_a_cancel_ends_the_wait_at_once(store: Store) -> None:
    run = waiting(store)
    store.interventions.cancel(run.id, EVERYONE)
    found = store.tasks.get(run.id, EVERYONE)
    assert (found.status, found.waits_for) == (TaskStatus.CANCELED, None)
    with pytest.raises(CallbackRefused):
        store.callbacks.resume(SECRET, PAID, EVERYONE)


def test_a_cancel_of_the_running_body_is_met_at_its_end(store: Store) -> None:
    run = expecting(store)
    store.interventions.cancel(run.id, EVERYONE)
    assert store.callbacks.wait(run.id, run.token, NO_REPORT, []) is TaskStatus.CANCELED
    assert not store.callbacks.expect(run.id, run.token, OTHER, None)


def test_a_retry_begins_anew_with_another_token(store: Store) -> None:
    run = waiting(store)
    with pytest.raises(IllegalMove):
        store.interventions.retry(run.id, EVERYONE)
    store.callbacks.resume(SECRET, BROKE, EVERYONE)
    store.interventions.retry(run.id, EVERYONE)
    assert row(store, run.id)["called_back"] is None
    assert claim(store, run.id, "t-2")
    with pytest.raises(CallbackRefused):
        store.callbacks.resume(SECRET, PAID, EVERYONE)
    assert store.callbacks.expect(run.id, "t-2", OTHER, None)
    with pytest.raises(CallbackRefused):
        store.callbacks.resume(SECRET, PAID, EVERYONE)
    store.callbacks.resume(OTHER, PAID, EVERYONE)
    assert store.callbacks.wait(run.id, "t-2", NO_REPORT, []) is TaskStatus.COMPLETED


def test_the_token_of_an_attempt_that_failed_is_dead(store: Store) -> None:
    run = expecting(store)
    store.outcomes.error(run.id, run.token, OOPS, SOON)
    with pytest.raises(CallbackRefused):
        store.callbacks.resume(SECRET, PAID, EVERYONE)
    assert claim(store, run.id, "t-2")
    with pytest.raises(CallbackRefused):
        store.callbacks.resume(SECRET, PAID, EVERYONE)


def test_no_loop_takes_it_for_a_parent_or_for_the_task_of_a_dead_worker(store: Store) -> None:
    run = waiting(store)
    assert store.joins.neglected(10) == []
    assert store.take_backs.rescue(OOPS, lease=SOON, limit=10, max_crashes=3) == {}
    store.joins.join(run.id)
    assert store.tasks.get(run.id, EVERYONE).waits_for == "callback"


def test_parts_wait_and_their_parent_joins(store: Store) -> None:
    parent = fan_out(store, 3)
    first, second, third = part_ids(store, parent)
    run_and_wait(store, first, "t-1")
    run_and_wait(store, second, "t-2")
    end(store, third)
    assert store.tasks.get(parent, EVERYONE).status is TaskStatus.PROCESSING
    store.callbacks.resume(digest_of("t-1"), PAID, EVERYONE)
    assert store.tasks.get(parent, EVERYONE).status is TaskStatus.PROCESSING
    store.callbacks.resume(digest_of("t-2"), PAID, EVERYONE)
    assert store.tasks.get(parent, EVERYONE).status is TaskStatus.COMPLETED


def test_a_part_that_nobody_calls_back_fails_its_parent(store: Store) -> None:
    parent = fan_out(store, 1)
    (part,) = part_ids(store, parent)
    assert claim(store, part)
    assert store.callbacks.expect(part, "token-1", SECRET, timedelta(microseconds=1))
    store.callbacks.wait(part, "token-1", NO_REPORT, [])
    assert store.callbacks.expire(10) == [part]
    assert store.tasks.get(parent, EVERYONE).status is TaskStatus.FAILED


def test_a_cancel_of_the_parent_reaches_a_part_that_waits(store: Store) -> None:
    parent = fan_out(store, 1)
    (part,) = part_ids(store, parent)
    run_and_wait(store, part, "t-1")
    store.interventions.cancel(parent, EVERYONE)
    assert store.tasks.get(part, EVERYONE).status is TaskStatus.CANCELED
    assert store.tasks.get(parent, EVERYONE).status is TaskStatus.CANCELED


@pytest.mark.parametrize("is_early", [True, False])
def test_the_output_of_a_step_is_the_input_of_the_next(store: Store, *, is_early: bool) -> None:
    whole = sequence(store, step("pay"), step("ship"))
    pay = newest_step(store, whole)
    assert claim(store, pay.id)
    assert store.callbacks.expect(pay.id, "token-1", SECRET, None)
    if is_early:
        store.callbacks.resume(SECRET, PAID, EVERYONE)
    store.callbacks.wait(pay.id, "token-1", NO_REPORT, [])
    if not is_early:
        assert newest_step(store, whole).id == pay.id
        store.callbacks.resume(SECRET, PAID, EVERYONE)
    ship = newest_step(store, whole)
    assert (ship.name, ship.inline_input) == ("ship", {"paid": 7})


@pytest.mark.parametrize("is_early", [True, False])
def test_the_other_handlers_of_its_type_follow(store: Store, *, is_early: bool) -> None:
    run = expecting(store)
    handlers = [HandlerSpec("audit", "taskdb", 5)]
    if is_early:
        store.callbacks.resume(SECRET, PAID, EVERYONE)
    store.callbacks.wait(run.id, run.token, NO_REPORT, handlers)
    if not is_early:
        store.callbacks.resume(SECRET, PAID, EVERYONE)
    assert store.tasks.get(run.id, EVERYONE).status is TaskStatus.FINISHED
    end(store, handler(store, run.id, "audit").id)
    found = store.tasks.get(run.id, EVERYONE)
    assert (found.status, found.inline_result) == (TaskStatus.COMPLETED, {"paid": 7})


@pytest.mark.parametrize("is_step", [True, False])
def test_a_cancel_of_a_task_with_handlers_that_was_called_back_ends_its_parent_at_once(
    store: Store, *, is_step: bool
) -> None:
    if is_step:
        parent = sequence(store, step("pay"), step("ship"))
        pay = newest_step(store, parent).id
    else:
        parent = fan_out(store, 1)
        (pay,) = part_ids(store, parent)
    assert claim(store, pay)
    assert store.callbacks.expect(pay, "token-1", SECRET, None)
    store.interventions.cancel(pay, EVERYONE)
    store.callbacks.resume(SECRET, PAID, EVERYONE)
    handlers = [HandlerSpec("audit", "taskdb", 5)]
    assert store.callbacks.wait(pay, "token-1", NO_REPORT, handlers) is TaskStatus.CANCELED
    assert store.tasks.get(parent, EVERYONE).status is TaskStatus.FAILED


def test_a_failed_wait_with_other_handlers_runs_its_body_again(store: Store) -> None:
    run = expecting(store)
    store.callbacks.wait(run.id, run.token, NO_REPORT, [HandlerSpec("audit", "taskdb", 5)])
    store.callbacks.resume(SECRET, BROKE, EVERYONE)
    store.interventions.retry(run.id, EVERYONE)
    assert claim(store, run.id, "t-2")
    store.outcomes.complete(run.id, "t-2", payload(1))
    assert store.tasks.sub_tasks(run.id, EVERYONE, after=-1, limit=10, role=TaskRole.HANDLER) == []


def test_an_item_that_waits_leaves_its_chunk(store: Store) -> None:
    chunk = create(store)
    store.submissions.create([draft(chunk=chunk)], EVERYONE)
    (item,) = store.runs.claim_chunk(chunk, token="t", worker="w", max_attempts=1, count=9)
    assert store.callbacks.expect(item.id, "t", SECRET, None)
    store.callbacks.wait(item.id, "t", NO_REPORT, [])
    assert row(store, item.id)["chunk"] is None
    assert store.outcomes.crash_chunk(chunk, "t", OOPS) == 0
    store.callbacks.resume(SECRET, PAID, EVERYONE)
    assert store.tasks.get(item.id, EVERYONE).status is TaskStatus.COMPLETED


def test_the_hash_is_nowhere_but_in_its_column(store: Store) -> None:
    run = waiting(store)
    store.callbacks.resume(SECRET, PAID, EVERYONE)
    said = write(store, "SELECT CAST(detail AS TEXT) AS detail FROM taskdb_event")
    assert SECRET not in str(said)
    assert SECRET not in str(store.tasks.get(run.id, EVERYONE))
