"""The contract of Django's task framework, and of its backport, held against our backend."""

import asyncio
import copy
import dataclasses
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from taskdb import TaskDB, TaskStatus, submit_task
from taskdb.contrib.django.framework.backend import backend_of
from taskdb.contrib.django.framework.task_type import priority_of
from taskdb.model.status import WAITING
from taskdb_worker.command import run_task
from tests.django_site.frameworks import Side, side, sides
from tests.django_site.test_transaction import refused
from tests.integration.submit_site import count, messages


@pytest.fixture(params=sides())
def tasks(request: pytest.FixtureRequest, taskdb: TaskDB) -> Side:
    """One of the frameworks; its tasks end in the default TaskDB of a project."""
    found = side(request.param)
    found.jobs.seen.clear()
    return found


@contextmanager
def heard(tasks: Side) -> Iterator[list[tuple[str, Any, Any]]]:
    """The signals that are sent: name, sender, and a copy of the result."""
    found: list[tuple[str, Any, Any]] = []
    receivers: list[tuple[Any, Callable[..., None]]] = []
    for name in ("enqueued", "started", "finished"):

        def receive(sender: Any, task_result: Any, name: str = name, **_: Any) -> None:
            found.append((name, sender, frozen(task_result)))
            if name == "started" and task_result.kwargs.get("disturb"):
                raise RuntimeError("a receiver that is broken")

        signal = getattr(tasks.known, name)
        signal.connect(receive)
        receivers.append((signal, receive))
    try:
        yield found
    finally:
        for signal, receive in receivers:
            signal.disconnect(receive)


def frozen(result: Any) -> Any:
    """The result as it is now; the framework goes on to change it."""
    found = copy.copy(result)
    for name in ("errors", "worker_ids"):
        object.__setattr__(found, name, list(getattr(result, name)))
    return found


def run(taskdb: TaskDB, result: Any) -> Any:
    """Run it as a worker would until it is over; answers the refreshed result."""
    while taskdb.get_task(result.id).status in WAITING:
        run_task(taskdb, result.id)
    result.refresh()
    return result


# --- what enqueue takes and answers ---------------------------------------------------------------


def test_everything_is_supported_and_the_tasks_are_what_the_framework_makes(tasks: Side) -> None:
    backend = tasks.backend
    assert isinstance(backend, backend_of(tasks.name))
    assert isinstance(backend, tasks.known.backend)
    for name in ("defer", "async_task", "get_result", "priority"):
        assert getattr(backend, f"supports_{name}") is True
    assert tasks.jobs.answer.call() == 42
    assert asyncio.run(tasks.jobs.later.acall(1)) == [1, {}]
    assert tasks.jobs.later.call(1) == [1, {}]


def test_enqueue_answers_a_ready_result_that_is_found_again(tasks: Side, taskdb: TaskDB) -> None:
    with heard(tasks) as signals:
        result = tasks.jobs.nothing.enqueue(1, two=(3, b"four"))
    assert result.status == tasks.known.status.READY
    assert (result.args, result.kwargs) == ([1], {"two": [3, "four"]})
    assert result.task == tasks.jobs.nothing
    assert (result.backend, result.attempts, result.errors) == (tasks.alias, 0, [])
    assert timezone.is_aware(result.enqueued_at)
    assert (result.started_at, result.last_attempted_at, result.finished_at) == (None, None, None)
    assert not result.is_finished
    with pytest.raises(ValueError, match="not finished"):
        result.return_value  # noqa: B018
    assert signals == [("enqueued", type(tasks.backend), result)]
    assert tasks.jobs.nothing.get_result(result.id) == result
    assert tasks.backend.get_result(result.id) == result
    before = dataclasses.asdict(result)
    result.refresh()
    assert dataclasses.asdict(result) == before
    row = taskdb.get_task(result.id)
    assert row.type == tasks.jobs.nothing.module_path
    assert row.input == {"args": [1], "kwargs": {"two": [3, "four"]}}


def test_coroutines_enqueue_and_read(tasks: Side, taskdb: TaskDB) -> None:
    @async_to_sync
    async def work() -> Any:
        result = await tasks.jobs.later.aenqueue(1, a=2)
        assert await tasks.jobs.later.aget_result(result.id) == result
        await result.arefresh()
        return result

    assert run(taskdb, work()).return_value == [1, {"a": 2}]


def test_what_is_not_json_is_refused_and_nothing_is_written(tasks: Side, taskdb: TaskDB) -> None:
    for wrong in (datetime.now(tz=UTC), {1, 2}, object()):
        with pytest.raises(TypeError, match="Unsupported type"):
            tasks.jobs.nothing.enqueue(wrong)
    for wrong in (b"\xff", float("nan"), "half \ud800"):
        with pytest.raises((TypeError, ValueError)):
            tasks.jobs.nothing.enqueue(wrong)
    with pytest.raises(TypeError, match="Unsupported type"):
        async_to_sync(tasks.jobs.nothing.aenqueue)(object())
    assert count(taskdb) == 0


def test_tasks_that_make_no_sense_are_refused(tasks: Side) -> None:
    invalid = tasks.invalid_task
    job = tasks.jobs.nothing
    for wrong in ({"priority": 101}, {"priority": -101}, {"priority": 3.1}, {"queue_name": "x"}):
        with pytest.raises(invalid):
            job.using(**wrong)
    with pytest.raises(invalid, match="aware"):
        job.using(run_after=datetime.now())  # noqa: DTZ005 - it is the matter
    for function in (any, lambda: None, test_tasks_that_make_no_sense_are_refused.__get__(1)):
        with pytest.raises(invalid, match="module level"):
            tasks.top.task(backend=tasks.alias)(function)
    with pytest.raises(invalid, match="context"):
        tasks.top.task(backend=tasks.alias, takes_context=True)(tasks.jobs.answer.func)
    with pytest.raises(ImproperlyConfigured):
        job.using(backend="unknown")


def test_a_result_of_nothing_and_of_another_task(tasks: Side, taskdb: TaskDB) -> None:
    own = submit_task("orders.pack")
    missing = ["123", "", str(own.id), "00000000-0000-7000-8000-000000000000"]
    for result_id in missing:
        with pytest.raises(tasks.known.no_such_result):
            tasks.jobs.nothing.get_result(result_id)
    with pytest.raises(tasks.known.no_such_result):
        async_to_sync(tasks.jobs.nothing.aget_result)("123")
    result = tasks.jobs.answer.enqueue()
    with pytest.raises(Exception, match="does not match"):
        tasks.jobs.nothing.get_result(result.id)


def test_queue_priority_and_due_time_are_those_of_the_variant(tasks: Side, taskdb: TaskDB) -> None:
    due = timezone.now() + timedelta(hours=1)
    result = tasks.jobs.nothing.using(priority=-100, queue_name="mail", run_after=due).enqueue()
    row = taskdb.get_task(result.id)
    assert (row.priority, row.queue, row.status) == (0, "mail", TaskStatus.SCHEDULED)
    assert abs(row.run_at - due) < timedelta(milliseconds=1)
    found = tasks.jobs.nothing.get_result(result.id).task
    assert (found.priority, found.queue_name) == (-100, "mail")
    assert abs(found.run_after - due) < timedelta(milliseconds=1)
    row = taskdb.get_task(tasks.jobs.answer.enqueue().id)
    assert (row.priority, row.queue) == (6, "mail")
    assert taskdb.get_task(tasks.jobs.nothing.enqueue().id).queue == "taskdb"
    assert "mail" in taskdb.types.registry.queues
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        naive = due.astimezone(timezone.get_fixed_timezone(540)).replace(tzinfo=None)
        deferred = tasks.jobs.nothing.using(run_after=naive).enqueue()
        assert abs(taskdb.get_task(deferred.id).run_at - due) < timedelta(milliseconds=1)
        assert timezone.is_naive(deferred.enqueued_at)
        found = tasks.jobs.nothing.get_result(deferred.id)
        assert found.enqueued_at == deferred.enqueued_at
        assert abs(found.task.run_after - naive) < timedelta(milliseconds=1)


def test_priorities_keep_their_order() -> None:
    ours = [priority_of(theirs) for theirs in range(-100, 101)]
    assert ours == sorted(ours)
    assert set(ours) == set(range(10))
    assert [priority_of(theirs) for theirs in (-100, -1, 0, 1, 100)] == [0, 4, 5, 6, 9]


# --- how it runs ----------------------------------------------------------------------------------


def test_a_run_sends_its_signals_and_its_result_is_kept(tasks: Side, taskdb: TaskDB) -> None:
    with heard(tasks) as signals:
        result = run(taskdb, tasks.jobs.answer.enqueue())
    assert result.status == tasks.known.status.SUCCESSFUL
    assert (result.return_value, result.is_finished, result.attempts) == (42, True, 1)
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.started_at == result.last_attempted_at
    assert [name for name, _, _ in signals] == ["enqueued", "started", "finished"]
    assert {sender for _, sender, _ in signals} == {type(tasks.backend)}
    started, finished = signals[1][2], signals[2][2]
    assert (started.status, started.worker_ids) == ("RUNNING", result.worker_ids)
    assert started.enqueued_at == result.enqueued_at
    assert (finished.status, finished.return_value) == ("SUCCESSFUL", 42)
    assert run(taskdb, tasks.jobs.nothing.enqueue(disturb=True)).return_value is None


def test_the_context_has_the_result_of_this_run(tasks: Side, taskdb: TaskDB) -> None:
    result = run(taskdb, tasks.jobs.knows.enqueue(number=7))
    assert result.return_value == {"id": result.id, "attempt": 1, "number": 7}
    (seen,) = tasks.jobs.seen
    assert (seen.kwargs, seen.attempts) == ({"number": 7}, 1)


def test_each_attempt_has_its_error_and_its_worker(tasks: Side, taskdb: TaskDB) -> None:
    with heard(tasks) as signals:
        result = run(taskdb, tasks.jobs.fails.enqueue("out of ink"))
    assert result.status == tasks.known.status.FAILED
    assert (result.attempts, len(result.errors)) == (2, 2)
    assert [one.exception_class for one in result.errors] == [ValueError, ValueError]
    for error in result.errors:
        assert error.traceback.endswith("ValueError: out of ink\n")
    assert "jobs.py" in result.errors[-1].traceback
    assert result.last_attempted_at > result.started_at
    with pytest.raises(ValueError, match="Task failed"):
        result.return_value  # noqa: B018
    # The first attempt is followed by another one, so nothing has finished then.
    assert [name for name, _, _ in signals] == ["enqueued", "started", "started", "finished"]
    assert signals[2][2].attempts == 2
    assert len(signals[2][2].errors) == 1
    assert (signals[3][2].status, len(signals[3][2].errors)) == ("FAILED", 2)


def test_what_a_body_raises_returns_or_says_ends_it(tasks: Side, taskdb: TaskDB) -> None:
    jobs = tasks.jobs
    result = run(taskdb, jobs.wraps.enqueue())
    assert result.errors[0].exception_class is ValueError
    assert "ValueError(ValueError('inside'))" in result.errors[0].traceback.replace('"', "'")
    result = run(taskdb, jobs.returns_a_function.enqueue())
    assert result.errors[0].exception_class is TypeError
    assert "Unsupported type" in result.errors[0].traceback
    result = run(taskdb, jobs.answer.enqueue("too many"))
    assert result.errors[0].exception_class is TypeError
    with heard(tasks) as signals:
        result = run(taskdb, jobs.leaves.enqueue())
    assert result.status == tasks.known.status.FAILED
    # A crash that another run follows has finished nothing.
    started = ["started"] * result.attempts
    assert [name for name, _, _ in signals] == ["enqueued", *started, "finished"]
    assert signals[-1][2].errors[-1].exception_class is SystemExit
    assert {one.exception_class for one in result.errors} == {SystemExit}
    with heard(tasks) as signals:
        result = run(taskdb, jobs.gives_up.enqueue())
        assert (result.status, len(result.errors)) == ("FAILED", 1)
        assert [name for name, _, _ in signals] == ["enqueued", "started", "finished"]
        waiting = jobs.waits.enqueue()
        run_task(taskdb, waiting.id)
        waiting.refresh()
    assert waiting.status == tasks.known.status.READY
    assert [name for name, _, _ in signals[3:]] == ["enqueued", "started"]


def test_a_task_whose_name_leads_to_the_bare_function_is_found(tasks: Side, taskdb: TaskDB) -> None:
    result = run(taskdb, tasks.jobs.wrapped.enqueue())
    assert result.return_value == "bare"
    assert tasks.jobs.wrapped.get_result(result.id).task == tasks.jobs.wrapped


def test_what_a_person_or_the_time_ended_has_failed(tasks: Side, taskdb: TaskDB) -> None:
    result = tasks.jobs.nothing.enqueue()
    taskdb.cancel_task(result.id)
    result.refresh()
    assert (result.status, result.is_finished, result.attempts) == ("FAILED", True, 0)
    if tasks.name == "django.tasks" and django.VERSION >= (6, 1):
        assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301


# --- in a transaction -----------------------------------------------------------------------------


def test_enqueue_belongs_to_the_transaction(tasks: Side, taskdb: TaskDB) -> None:
    with refused():
        undone = tasks.jobs.nothing.enqueue()
        assert tasks.jobs.nothing.get_result(undone.id) == undone
    with pytest.raises(tasks.known.no_such_result):
        undone.refresh()
    assert (count(taskdb), messages(taskdb)) == (0, [])
    with transaction.atomic():
        result = tasks.jobs.answer.enqueue()
        result.refresh()
        assert result.status == tasks.known.status.READY
    assert run(taskdb, result).return_value == 42


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"typs": {}}, "no such option 'typs'"),
        ({"types": []}, "make it a dict"),
        ({"types": {"*": []}}, "make it a dict"),
        ({"types": {"*": {"retri": {}}}}, "did you mean .*retry"),
        ({"types": {"*": {"retry": {"max_attempts": 0}}}}, "1 or more"),
        ({"types": {"*": {"retry": {"attempts": 2}}}}, "attempts"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    made = backend_of(sides()[-1])
    with pytest.raises(ImproperlyConfigured, match=message):
        made("default", {"OPTIONS": options})


def test_a_backend_without_the_app_is_an_error(at_home: None) -> None:
    backend = backend_of(sides()[-1])("default", {})
    assert list(backend.check()) == []
    with override_settings(INSTALLED_APPS=["tests.django_site.orders"]):
        (found,) = backend.check()
    assert found.id == "taskdb.E010"
    assert [one for one in run_checks() if str(one.id) == "taskdb.E010"] == []
