"""Rehearsals: what a test of an application sees when it submits, looks, drains and moves time."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from tests.integration.submit_site import client, engine_on, messages, until_queued

from taskdb import (
    FanOut,
    IllegalMove,
    InvalidInput,
    Registry,
    Retry,
    Sequence,
    Snooze,
    Step,
    TaskContext,
    UnknownTaskType,
    on_task,
    submit_task,
    submitting_as,
    task,
)
from taskdb.client.default import default_taskdb
from taskdb.testing import (
    DrainLimitReached,
    Rehearsal,
    assert_submitted,
    clock,
    current,
    drain,
    drain_async,
    memory_database,
    rehearse,
    run_task,
    submitted,
)

NOW = datetime(2031, 5, 1, 12, 0, tzinfo=UTC)
registry = Registry()
inside = ContextVar("inside", default="nothing")


class Order(BaseModel):
    number: int
    placed_at: datetime = NOW


@registry.around
@contextmanager
def surround(ctx: TaskContext) -> Iterator[None]:
    token = inside.set(ctx.type)
    yield
    inside.reset(token)


@task("order.mail", retry=Retry(max_attempts=3, backoff=60, jitter=0), registry=registry)
def mail(ctx: TaskContext, input: Order) -> dict[str, Any]:
    ctx.attributes["seen"] = True
    ctx.progress(1, 2, "half")
    if input.number < 0 and ctx.attempt < -input.number:
        raise ValueError(f"attempt {ctx.attempt}")
    return {
        "order": input.model_dump(mode="json"),
        "around": inside.get(),
        "left": ctx.attempts_left,
        "tuple": (1, 2),
    }


@task("order.list", registry=registry)
def list_orders(count: int) -> list[dict[str, int]]:
    return [{"number": number} for number in range(count)]


@task("order.ship", registry=registry, mutex="number")
async def ship(number: int) -> int:
    await asyncio.sleep(0)
    return number * 10


@task("order.report", registry=registry)
def report(ctx: TaskContext) -> list[Any]:
    return [one.result for one in ctx.results()]


@task("order.split", on_join="order.report", registry=registry)
def split(ctx: TaskContext, count: int) -> None:
    ctx.fan_out([{"number": one} for one in range(count)], type="order.ship", chunk_size=2)


@task("order.place", registry=registry)
def place(number: int) -> str:
    return f"placed {number}"


@on_task("order.place", registry=registry)
def count_orders(number: int) -> None: ...


@task("order.chase", registry=registry)
def chase(input: Any) -> Snooze:
    return Snooze(0)


@task("order.nightly", schedule="0 2 * * *", registry=registry)
def nightly() -> str:
    return "done"


shipping = Step(ship, fan_out=FanOut(max_concurrency=2, on_join=report))
Sequence("order.all", [list_orders, shipping, place], registry=registry)


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    with rehearse(registry=registry, at=NOW) as one:
        yield one


def results(of: Any) -> list[tuple[str, Any]]:
    return [(one.type, one.result) for one in of.tasks]


# --- run_task -------------------------------------------------------------------------------------


def test_a_body_runs_as_in_a_worker_and_its_input_and_result_go_through_json(
    rehearsal: Rehearsal,
) -> None:
    done = run_task(mail, {"number": "7"}, tenant="acme")

    assert done.status == "COMPLETED"
    assert done.result == {
        "order": {"number": 7, "placed_at": "2031-05-01T12:00:00Z"},
        "around": "order.mail",
        "left": 2,
        "tuple": [1, 2],
    }
    assert (done.input["number"], done.tenant, done.worker) == (7, "acme", "rehearsal")
    assert done.attributes == {"seen": True}
    assert done.progress is not None
    assert done.progress.message == "half"
    assert done.ended_at == NOW
    moves = [str(event.to_status) for event in rehearsal.taskdb.task_history(done.id)]
    # The one report came with the outcome: nothing writes beside a body in a rehearsal.
    assert moves == ["CREATED", "STARTED", "COMPLETED"]


def test_an_input_that_does_not_validate_is_refused_before_anything_is_written(
    rehearsal: Rehearsal,
) -> None:
    with pytest.raises(InvalidInput, match="number"):
        run_task("order.mail", {"numbre": 1})
    with pytest.raises(UnknownTaskType, match=r"did you mean 'order\.mail'"):
        run_task("order.mial", {"number": 1})

    assert submitted() == []


def test_what_a_body_raises_is_an_outcome_with_the_body_s_own_traceback(
    rehearsal: Rehearsal,
) -> None:
    failed = run_task(mail, {"number": -2})

    assert (failed.status, failed.attempt) == ("ERRORED", 1)
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("ValueError", "attempt 1")
    assert "taskdb_worker" not in failed.error.traceback
    assert "During handling" not in failed.error.traceback
    assert failed.run_at == NOW + timedelta(seconds=60)


def test_what_a_test_runner_raises_is_the_test_s_and_no_outcome(rehearsal: Rehearsal) -> None:
    def interrupts() -> None:
        raise KeyboardInterrupt

    task("stops", registry=(own := Registry()))(lambda: pytest.skip("not today"))
    task("interrupts", registry=own)(interrupts)
    with rehearse(registry=own):
        with pytest.raises(pytest.skip.Exception, match="not today"):
            run_task("stops")
        with pytest.raises(KeyboardInterrupt):
            run_task("interrupts")


def test_a_task_that_may_not_run_now_is_not_run(rehearsal: Rehearsal) -> None:
    with pytest.raises(IllegalMove, match=r"SCHEDULED, due at 2031-05-01T12:05:00"):
        run_task(mail, {"number": 1}, delay=300)

    rehearsal.taskdb.limits.pause(type="order.mail")
    with pytest.raises(IllegalMove, match="held by"):
        run_task(mail, {"number": 1})


def test_a_body_knows_nothing_of_the_request_around_the_test() -> None:
    own = Registry()
    task("inner", registry=own)(lambda input: None)
    task("outer", registry=own)(lambda: submit_task("inner").id)
    with rehearse(registry=own) as rehearsal, submitting_as(created_by="ada"):
        run_task("outer")
        drain()
        outer, inner = rehearsal.submitted()

    assert (outer.created_by, inner.created_by) == ("ada", None)


# --- drain ----------------------------------------------------------------------------------------


def test_drain_runs_fan_outs_sequences_and_handlers_to_their_ends(rehearsal: Rehearsal) -> None:
    taskdb = rehearsal.taskdb
    whole = taskdb.submit_sequence("order.all", {"count": 5})
    parts = taskdb.submit_fan_out("order.ship", [{"number": 7}] * 3, on_join="order.report")
    body = taskdb.submit_task("order.split", {"count": 3})
    handled = taskdb.submit_task("order.place", {"number": 1})
    empty = taskdb.submit_fan_out("order.ship", [])
    drained = drain()

    assert [one.type for one in drained.failed] == ["order.place"]
    ended = [one.refresh() for one in (parts, body, handled, empty)]
    assert [one.status for one in ended] == ["COMPLETED"] * 4
    assert [one.result for one in ended[:3]] == [[70] * 3, [0, 10, 20], "placed 1"]
    assert [one.type for one in drained.tasks].count("order.place:count_orders") == 1
    failed = whole.refresh()
    assert failed.status == "FAILED"  # its last step gets a list, and wants a number
    steps = taskdb.trees.sequence_progress(whole.id).steps
    assert [one.result for one in steps[:2]] == [
        [{"number": number} for number in range(5)],
        [0, 10, 20, 30, 40],
    ]
    assert drain().runs == 0


def test_a_retry_waits_for_the_clock(rehearsal: Rehearsal) -> None:
    entity = rehearsal.taskdb.submit_task("order.mail", {"number": -3})

    assert [one.status for one in drain().tasks] == ["ERRORED"]
    assert drain().runs == 0
    assert clock().tick(timedelta(seconds=60)) == NOW + timedelta(seconds=60)
    assert drain().runs == 1
    clock().tick(59)
    assert drain().runs == 0
    assert entity.refresh().status == "ERRORED"
    clock().tick(3600)
    assert drain().runs == 1
    assert (entity.refresh().status, entity.refresh().attempt) == ("COMPLETED", 3)


def test_with_retries_the_clock_is_moved_to_each(rehearsal: Rehearsal) -> None:
    entity = rehearsal.taskdb.submit_task("order.mail", {"number": -9})
    later = rehearsal.taskdb.submit_task("order.mail", {"number": 1}, delay=timedelta(days=1))
    drained = drain(retries=True)

    assert drained.runs == 3
    assert [one.id for one in drained.failed] == [entity.id]
    assert timedelta(seconds=120) <= clock().at - NOW < timedelta(hours=1)
    assert later.refresh().status == "SCHEDULED"


def test_an_endless_chain_is_ended_and_named(rehearsal: Rehearsal) -> None:
    rehearsal.taskdb.submit_task("order.chase", {})
    with pytest.raises(DrainLimitReached, match=r"50 bodies .*order.chase \(1 tasks\).* 50 times"):
        drain(limit=50)


def test_schedules_fire_when_the_clock_has_moved_past_them(rehearsal: Rehearsal) -> None:
    rehearsal.taskdb.schedules.create("hourly", "order.place", {"number": 3}, every=3600)
    drain()
    assert submitted() == []
    clock().tick(timedelta(minutes=61))
    assert results(drain())[0] == ("order.place", "placed 3")
    clock().tick(timedelta(hours=14))
    drain()

    (fired,) = assert_submitted("order.nightly", count=1)
    assert fired.attributes["due_at"] == "2031-05-02T02:00:00+00:00"
    assert fired.status == "COMPLETED"


def test_deadlines_and_timeouts_pass_with_the_clock(rehearsal: Rehearsal) -> None:
    taskdb = rehearsal.taskdb
    taskdb.limits.pause(type="order.place")
    late = taskdb.submit_task("order.place", {"number": 1}, deadline=NOW + timedelta(minutes=1))
    clock().tick(61)
    drain()

    assert late.refresh().status == "FAILED"


def test_the_most_urgent_go_first_and_then_the_oldest(rehearsal: Rehearsal) -> None:
    for number, priority in enumerate([5, 9, 5, 0]):
        rehearsal.taskdb.submit_task("order.mail", {"number": number}, priority=priority)

    assert [one.input["number"] for one in drain().tasks] == [1, 0, 2, 3]


def test_many_tasks_of_one_batch_are_all_due_at_once(rehearsal: Rehearsal) -> None:
    rehearsal.taskdb.submit_many("order.mail", [{"number": one} for one in range(550)])

    assert drain().runs == 550
    assert len(submitted("order.mail", status="COMPLETED")) == 550


def test_a_running_event_loop_is_no_hindrance(rehearsal: Rehearsal) -> None:
    async def test() -> tuple[Any, Any, int]:
        first = run_task(ship, {"number": 1})
        second = await rehearsal.run_task_async(ship, {"number": 2})
        await rehearsal.taskdb.submit_task_async("order.ship", {"number": 3})
        return first.result, second.result, (await rehearsal.drain_async()).runs

    assert asyncio.run(test()) == (10, 20, 1)


def test_threads_submit_side_by_side(rehearsal: Rehearsal) -> None:
    def submit() -> None:
        for number in range(20):
            submit_task("order.ship", {"number": number})

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert drain().runs == 80


# --- what was submitted ---------------------------------------------------------------------------


def test_a_submitted_task_is_found_by_the_members_of_its_input(rehearsal: Rehearsal) -> None:
    first = submit_task("order.mail", {"number": 1})
    submit_task("order.mail", {"number": 2}, tenant="acme")

    assert [one.id for one in submitted("order.mail", input={"number": 1})] == [first.id]
    assert len(submitted(mail, input={"placed_at": NOW})) == 2
    assert len(submitted(mail, input=Order(number=2))) == 1
    assert len(submitted(mail, tenant="acme")) == 1
    assert [one.id for one in assert_submitted(mail, {"number": 1}, count=1)] == [first.id]
    assert_submitted("order.ship", count=0)


def test_parts_are_found_and_the_parent_is_none_of_them(rehearsal: Rehearsal) -> None:
    rehearsal.taskdb.submit_fan_out("order.ship", [{"number": 1}, {"number": 2}])

    assert_submitted("order.ship", count=2)
    assert_submitted("order.ship", {"number": 2}, count=1)
    assert len(submitted("order.ship", kind="FAN_OUT")) == 1


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: assert_submitted("order.mail", {"number": 9}), "    - number: 9\n    + number: 1"),
        (lambda: assert_submitted("order.mail", {"nr": 1}), "    - nr: 1\n    + nr is not there"),
        (lambda: assert_submitted("order.mail", count=2), "exactly 2 tasks of type 'order.mail'"),
        (lambda: assert_submitted("order.ship"), "none of this type was submitted"),
        (lambda: assert_submitted("order.mial"), "did you mean 'order.mail'?"),
        (lambda: assert_submitted("order.mail", count=0), "there is 1\n  fits: CREATED"),
    ],
)
def test_an_assertion_says_what_there_is_instead(
    rehearsal: Rehearsal, ask: Callable[[], Any], said: str
) -> None:
    submit_task("order.mail", {"number": 1})
    with pytest.raises(AssertionError) as raised:
        ask()

    assert said in str(raised.value)


# --- where it happens -----------------------------------------------------------------------------


def test_each_rehearsal_begins_with_nothing_and_leaves_the_default_as_it_was() -> None:
    before = default_taskdb()
    folders = []
    for _ in range(2):
        with rehearse(registry=registry) as rehearsal:
            assert default_taskdb() is rehearsal.taskdb is current().taskdb
            assert submitted() == []
            submit_task("order.mail", {"number": 1})
            folders.append(rehearsal.taskdb.settings.data_dir)
    assert default_taskdb() is before
    assert not any(folder.exists() for folder in folders)
    with pytest.raises(RuntimeError, match="no rehearsal is on: ask for the fixture"):
        current()


def test_settings_are_those_of_the_environment_with_some_on_top(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TASKDB_DEFAULT_TENANT", "acme")
    monkeypatch.setenv("TASKDB_BROKER_URL", "redis://production")
    with rehearse(registry=registry, default_queue="tests") as rehearsal:
        entity = submit_task("order.mail", {"number": 1})
        assert (entity.tenant, entity.queue) == ("acme", "tests")
        assert rehearsal.taskdb.settings.broker_url.get_secret_value() == ""


def test_a_suite_that_rolls_back_its_tests_is_rehearsed_in_their_transaction(
    store_url: str, tmp_path: Path
) -> None:
    engine = engine_on(store_url)
    with client(store_url, tmp_path) as taskdb, engine.connect() as connection:
        transaction = connection.begin()
        session = Session(connection, join_transaction_mode="create_savepoint")
        with rehearse(taskdb, connection=connection) as rehearsal:
            taskdb.submit_task("echo", "rolled back", session=session)
            session.rollback()
            kept = taskdb.submit_task("plus", {"a": 1}, session=session)
            session.commit()
            parts = taskdb.submit_fan_out("plus", [{"a": 1}, {"a": 2}], max_concurrency=1)
            assert rehearsal.drain().runs == 3
            assert (kept.refresh().result, parts.refresh().status) == (1, "COMPLETED")
            assert len(rehearsal.submitted(kind="TASK")) == 3
        session.close()
        transaction.rollback()
        assert taskdb.list_tasks(with_sub_tasks=True) == ()
    engine.dispose()


def test_a_client_of_the_application_is_rehearsed_on_its_own_database(
    store_url: str, tmp_path: Path
) -> None:
    # No relay runs here: what the publisher is too slow for on a busy machine would stay.
    with client(store_url, tmp_path, publish_budget_seconds=60) as taskdb:
        with rehearse(taskdb, at=NOW) as rehearsal:
            entity = taskdb.for_tenant("acme").submit_task("plus", {"a": 1})
            assert entity.created_at == NOW
            assert (entity.status, rehearsal.drain().runs) == ("CREATED", 1)
            assert entity.refresh().result == 1
            left = taskdb.submit_task("echo")
        assert messages(taskdb) == []
        after = taskdb.submit_task("echo")
        assert abs(after.created_at - datetime.now(UTC)) < timedelta(minutes=5)
        until_queued(taskdb, after.id)
        assert taskdb.get_task(left.id).status == "CREATED"
        with pytest.raises(TypeError, match="a client has its registry"), rehearse(taskdb, x=1):
            pass


def test_a_submit_in_an_asynchronous_session_is_rehearsed() -> None:
    async def story(url: str) -> None:
        asynchronous = url.replace("sqlite:", "sqlite+aiosqlite:")
        engine = create_async_engine(asynchronous, poolclass=NullPool)
        async with AsyncSession(engine) as session, session.begin():
            await current().taskdb.submit_task_async("order.place", {"number": 1}, session=session)
        assert_submitted("order.place", {"number": 1}, count=1)
        assert (await drain_async()).tasks[0].result == "placed 1"
        await engine.dispose()

    with memory_database() as url, rehearse(registry=registry, database_url=url):
        asyncio.run(story(url))
