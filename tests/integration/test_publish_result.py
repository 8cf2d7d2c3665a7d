"""Celery's `AsyncResult` answers from the row, for every status."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult
from tests.integration.submit_site import end

from taskdb import Registry, Settings, TaskDB, task
from taskdb.celery.configuration import create_celery
from taskdb.entity import TaskError
from taskdb.status import CELERY_STATES, TaskStatus


class OfTwoWords(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


@pytest.fixture
def app(taskdb: TaskDB) -> Iterator[Celery]:
    with create_celery(taskdb.settings) as app:
        app.taskdb_reader = taskdb
        yield app


def result_of(app: Celery, task_id: str) -> Any:
    return app.AsyncResult(task_id)


@pytest.mark.parametrize(
    "status",
    [
        *("CREATED", "SCHEDULED", "QUEUED", "STARTED", "COMPLETED", "ERRORED", "FAILED", "HALTED"),
        "CANCELED",
    ],
)
def test_every_status_has_its_celery_state(taskdb: TaskDB, app: Celery, status: str) -> None:
    if status == "CREATED":
        taskdb._background._trip("a test", 0)
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


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("builtins.ValueError", ValueError),
        ("ValueError", ValueError),
        (f"{__name__}.OfTwoWords", Exception),
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
    assert store.claim(entity.id, token="t", worker="w", max_attempts=1).granted
    store.fail(entity.id, "t", TaskError(kind, "what went wrong", "the traceback"))
    result = result_of(app, entity.id)
    assert result.failed() and result.traceback == "the traceback"
    with pytest.raises(expected, match="what went wrong"):
        result.get(timeout=5)


def test_a_canceled_task_is_revoked(taskdb: TaskDB, app: Celery) -> None:
    entity = taskdb.submit_task("echo")
    taskdb.cancel_task(entity.id)
    with pytest.raises(TaskRevokedError, match="canceled"):
        result_of(app, entity.id).get(timeout=5)
    assert result_of(app, entity.id).state == "REVOKED"


@pytest.mark.parametrize("task_id", [str(UUID(int=1)), "any text", "TASK#"])
def test_an_unknown_id_is_pending(app: Celery, task_id: str) -> None:
    assert result_of(app, task_id).state == "PENDING"
    assert result_of(app, task_id).result is None


def test_a_task_that_is_retried_is_pending_again(taskdb: TaskDB, app: Celery) -> None:
    entity = taskdb.submit_task("echo")
    end(taskdb, entity.id, "COMPLETED")
    assert result_of(app, entity.id).state == "SUCCESS"
    taskdb.retry_task(entity.id)
    assert result_of(app, entity.id).state == "PENDING"


def test_a_large_result_comes_back_by_itself(taskdb: TaskDB, app: Celery) -> None:
    entity = taskdb.submit_task("echo")
    assert taskdb.store.claim(entity.id, token="t", worker="w", max_attempts=1).granted
    payload = taskdb.payloads.pack("x" * 5_000, f"{entity.id}-result", "the result")
    taskdb.store.complete(entity.id, "t", payload)
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
        assert AsyncResult(canceled.id, app=other.celery_app).state == "PENDING"
