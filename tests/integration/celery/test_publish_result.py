"""Celery's `AsyncResult` answers from the row, for every status."""

import builtins
import json
import subprocess
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import pytest
from celery import Celery, chain, group
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult
from tests.cases import each
from tests.integration.submit_site import end

from taskdb import Registry, Settings, TaskDB, task
from taskdb.celery.configuration import create_celery
from taskdb.errors import InvalidInput, ResultNotKept, TaskNotFound
from taskdb.model.entity import TaskError
from taskdb.model.status import CELERY_STATES, TaskStatus


class OfTwoWords(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


class Nested:
    class Inner(LookupError):
        pass


class Silent(ArithmeticError):
    """Makes its text of what its constructor was given."""

    def __init__(self, code: int, *, reason: str) -> None:
        self.code, self.reason = code, reason

    def __str__(self) -> str:
        return f"{self.code} {self.reason}"


class Peculiar(Exception):
    """Cannot be made at all."""

    def __new__(cls, *arguments: Any) -> Self:
        raise RuntimeError(arguments)


class Ending(Exception):
    """Ends the process that makes it."""

    def __init__(self, *_: object) -> None:
        raise SystemExit(3)


class Interrupting(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.fixture
def app(taskdb: TaskDB) -> Iterator[Celery]:
    with create_celery(taskdb.settings) as app:
        app.taskdb_reader = taskdb
        yield app


def result_of(app: Celery, task_id: str) -> Any:
    return app.AsyncResult(task_id)


@each(
    "status",
    [
        *("SCHEDULED", "QUEUED", "STARTED", "COMPLETED", "ERRORED", "FAILED", "HALTED", "CANCELED"),
        "CREATED",  # the last: from then on nothing is published
    ],
)
def test_every_status_has_its_celery_state(taskdb: TaskDB, app: Celery, status: str) -> None:
    if status == "CREATED":
        taskdb._connections.background._trip("a test", 0)
    entity = taskdb.submit_task("echo", delay=600 if status == "SCHEDULED" else None)
    end(taskdb, entity.id, status)
    assert entity.refresh().status == status
    result = result_of(app, entity.id)
    assert isinstance(result, AsyncResult)
    assert result.state == CELERY_STATES[TaskStatus(status)]
    assert result.ready() is TaskStatus(status).is_terminal


def test_a_completed_task_answers_its_result(taskdb: TaskDB, app: Celery) -> None:
    entity = taskdb.submit_task("echo")
    end(taskdb, entity.id, "COMPLETED")
    result = result_of(app, entity.id)
    assert result.get(timeout=5) == {"sum": 3} and result.successful()
    assert result.name == "echo" and result.date_done is not None


@each(
    "kind, expected",
    [
        ("builtins.ValueError", ValueError),
        ("ValueError", ValueError),
        (f"{__name__}.OfTwoWords", OfTwoWords),
        (f"{__name__}.Nested.Inner", LookupError),
        (f"{__name__}.Silent", ArithmeticError),
        (f"{__name__}.Peculiar", Exception),
        (f"{__name__}.Ending", Exception),
        (f"{__name__}.Interrupting", Exception),
        ("builtins.ExceptionGroup", ExceptionGroup),
        ("builtins.BaseExceptionGroup", Exception),
        ("builtins.SystemExit", Exception),
        ("builtins.KeyError", KeyError),
        ("builtins.UnicodeDecodeError", UnicodeDecodeError),
        ("builtins.UnicodeEncodeError", UnicodeEncodeError),
        ("builtins.OSError", OSError),
        ("builtins.ImportError", ImportError),
        ("builtins.SyntaxError", SyntaxError),
        ("builtins.StopIteration", StopIteration),
        ("json.decoder.JSONDecodeError", json.JSONDecodeError),
        ("subprocess.CalledProcessError", subprocess.CalledProcessError),
        ("urllib.error.HTTPError", urllib.error.HTTPError),
        ("pydantic_core._pydantic_core.ValidationError", Exception),
        ("taskdb.errors.TaskNotFound", TaskNotFound),
        ("taskdb.errors.InvalidInput", InvalidInput),
        ("a.module.that.is.nowhere.Oops", Exception),
        ("module.Outer.Inner", Exception),
        ("os.system", Exception),
        ("", Exception),
    ],
)
def test_a_failed_task_raises_its_error(
    taskdb: TaskDB, app: Celery, kind: str, expected: type[Exception]
) -> None:
    entity = taskdb.submit_task("echo")
    store = taskdb.store
    assert store.runs.claim(entity.id, token="t", worker="w", max_attempts=1).granted
    store.outcomes.fail(entity.id, "t", TaskError(kind, "what went wrong", "the traceback"))
    result = result_of(app, entity.id)
    assert result.failed() and result.traceback == "the traceback"
    assert result.state == "FAILURE" and "what went wrong" in str(result.result)
    with pytest.raises(expected, match="what went wrong"):
        result.get(timeout=5)


@each("message", ["", "'a'", "two\nlines", "a \\ in it", "%s {0}"])
@each("kind", ["KeyError", "UnicodeDecodeError", "ExceptionGroup", "OSError"])
def test_an_error_has_its_message_whatever_its_class_makes_of_it(
    taskdb: TaskDB, app: Celery, kind: str, message: str
) -> None:
    entity = taskdb.submit_task("echo")
    assert taskdb.store.runs.claim(entity.id, token="t", worker="w", max_attempts=1).granted
    taskdb.store.outcomes.fail(entity.id, "t", TaskError(f"builtins.{kind}", message, ""))
    found = result_of(app, entity.id).result
    assert isinstance(found, getattr(builtins, kind)) and message in str(found)


def test_a_canceled_task_is_revoked(taskdb: TaskDB, app: Celery) -> None:
    entity = taskdb.submit_task("echo")
    taskdb.cancel_task(entity.id)
    with pytest.raises(TaskRevokedError, match="canceled"):
        result_of(app, entity.id).get(timeout=5)
    assert result_of(app, entity.id).state == "REVOKED"


@each("task_id", [str(UUID(int=1)), "any text", "TASK#"])
@each(
    "ask",
    [
        lambda result: result.state,
        lambda result: result.result,
        lambda result: result.ready(),
        lambda result: result.failed(),
        lambda result: result.traceback,
        lambda result: result.get(),
        lambda result: result.get(timeout=5, propagate=False),
    ],
)
def test_an_id_without_a_row_raises_at_once_and_says_what_to_do(
    app: Celery, task_id: str, ask: Callable[[Any], Any]
) -> None:
    with pytest.raises(ResultNotKept, match="submit_task"):
        ask(result_of(app, task_id))


def called_plainly(app: Celery, **options: Any) -> list[Any]:
    """Results of plain Celery tasks, by each way of calling one."""

    @app.task(name="plain", shared=False, **options)  # type: ignore[untyped-decorator]
    def plain() -> int:
        return 1

    return [
        plain.delay(),
        plain.apply_async(),
        plain.apply_async(ignore_result=True),
        plain.s().apply_async(),
        app.send_task("plain"),
        app.send_task("plain", ignore_result=True),
        group(plain.s(), plain.s()).apply_async(),
        chain(plain.si(), plain.si()).apply_async(),
    ]


@pytest.mark.parametrize("options", [{}, {"ignore_result": False}, {"ignore_result": True}])
def test_a_result_of_a_plain_task_is_no_endless_wait_and_no_none(
    app: Celery, options: dict[str, bool]
) -> None:
    for result in called_plainly(app, **options):
        with pytest.raises(ResultNotKept):
            result.get(timeout=5)


def test_a_tracked_task_answers_also_where_its_result_is_to_be_ignored(
    taskdb: TaskDB, app: Celery
) -> None:
    entity = taskdb.submit_task("echo")
    end(taskdb, entity.id, "COMPLETED")
    result = result_of(app, entity.id)
    result.ignored = True
    assert result.get(timeout=5) == {"sum": 3}


def test_a_worker_may_revoke_a_plain_task(app: Celery) -> None:
    assert app.backend.get_state("of a plain task") == "PENDING"


def test_a_task_that_is_retried_is_pending_again(taskdb: TaskDB, app: Celery) -> None:
    entity = taskdb.submit_task("echo")
    end(taskdb, entity.id, "COMPLETED")
    assert result_of(app, entity.id).state == "SUCCESS"
    taskdb.retry_task(entity.id)
    assert result_of(app, entity.id).state == "PENDING"


def test_a_large_result_comes_back_by_itself(taskdb: TaskDB, app: Celery) -> None:
    entity = taskdb.submit_task("echo")
    assert taskdb.store.runs.claim(entity.id, token="t", worker="w", max_attempts=1).granted
    payload = taskdb.store.payloads.pack("x" * 5_000, f"{entity.id}-result", "the result")
    taskdb.store.outcomes.complete(entity.id, "t", payload)
    assert result_of(app, entity.id).get(timeout=5) == "x" * 5_000


def test_what_celery_stores_never_moves_a_row(taskdb: TaskDB, app: Celery) -> None:
    entity = taskdb.submit_task("echo")
    app.backend.store_result(entity.id, {"other": 1}, "SUCCESS")
    app.backend.mark_as_failure(entity.id, ValueError("x"))
    result_of(app, entity.id).forget()
    assert entity.refresh().status is TaskStatus.QUEUED


def test_a_client_has_an_app_for_async_result_within_its_scope(tmp_path: Path) -> None:
    registry = Registry()
    task("mine", registry=registry)(lambda: None)
    settings = Settings.load({"TASKDB_DATA_DIR": str(tmp_path)})
    with TaskDB(settings, registry=registry) as taskdb:
        canceled = taskdb.cancel_task(taskdb.submit_task("mine", tenant="acme").id)
        other = taskdb.for_tenant("zenith")

        assert AsyncResult(canceled.id, app=taskdb.celery_app).state == "REVOKED"
        with pytest.raises(ResultNotKept, match="of other tenants"):
            _ = AsyncResult(canceled.id, app=other.celery_app).state
