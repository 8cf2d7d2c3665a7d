"""Task types that are called as plain Celery tasks: refused at once, or a warning of the worker."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, chain, group
from celery.app.task import Context
from celery.exceptions import Ignore
from tests.cases import each
from tests.integration.submit_site import client, count, events, logged, messages

from taskdb import TaskDB, TaskStatus
from taskdb.errors import TaskNotSubmitted
from taskdb_worker.app import create_app
from taskdb_worker.message import foreign
from taskdb_worker.message import rare_log as seldom


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with client(store_url, tmp_path) as taskdb:
        yield taskdb


@pytest.fixture
def app(taskdb: TaskDB) -> Iterator[Celery]:
    with create_app(taskdb=taskdb, as_current=False) as app:
        yield app


def plain(app: Celery) -> Any:
    return app.signature("plain.adds", args=(1, 2), immutable=True)


WAYS: dict[str, Callable[[Celery, Any], Any]] = {
    "delay": lambda _app, task: task.delay(1),
    "delay without arguments": lambda _app, task: task.delay(),
    "apply_async": lambda _app, task: task.apply_async(kwargs={"a": 1}, countdown=5),
    "apply": lambda _app, task: task.apply((1,)),
    "signature": lambda _app, task: task.s(1).delay(),
    "immutable signature": lambda _app, task: task.si(1).apply_async(),
    "applied signature": lambda _app, task: task.s(1).apply(),
    "called signature by name": lambda app, _task: app.signature("plus", (1,)).apply_async(),
    "send_task": lambda app, _task: app.send_task("plus", (1,)),
    "map": lambda _app, task: task.map([1, 2]).delay(),
    "starmap": lambda _app, task: task.starmap([(1,), (2,)]).apply_async(),
    "chunks": lambda _app, task: task.chunks([(1,), (2,)], 1).delay(),
    "first in a chain": lambda app, task: chain(task.si(1), plain(app), app=app).delay(),
    "later in a chain": lambda app, task: chain(plain(app), task.si(1), app=app).delay(),
    "last in a chain": lambda app, task: chain(plain(app), plain(app), task.si(1), app=app).delay(),
    "in a group": lambda app, task: group([task.s(1), task.s(2)], app=app).delay(),
    "in a group of a chain": lambda app, task: chain(
        plain(app), group([task.si(1), plain(app)], app=app), app=app
    ).delay(),
    "as a link": lambda app, task: plain(app).apply_async(link=task.s()),
    "as an errback": lambda app, task: plain(app).apply_async(link_error=[task.s()]),
    "linked to a link": lambda app, task: plain(app).apply_async(
        link=plain(app).set(link=[task.s()])
    ),
}


@each("way", WAYS)
def test_a_task_type_that_is_called_plainly_is_refused_and_names_submit_task(
    taskdb: TaskDB, app: Celery, way: str
) -> None:
    with pytest.raises(TaskNotSubmitted, match=r"submit_task\('plus', input\)"):
        WAYS[way](app, app.tasks["plus"])
    assert count(taskdb) == 0
    assert messages(taskdb) == []


def test_a_task_type_is_refused_also_where_celery_is_always_eager(
    taskdb: TaskDB, app: Celery
) -> None:
    app.conf.task_always_eager = True
    with pytest.raises(TaskNotSubmitted):
        app.tasks["plus"].delay(1)


def test_the_app_of_a_client_refuses_its_types_and_sends_plain_tasks(taskdb: TaskDB) -> None:
    app = taskdb.celery_app
    with pytest.raises(TaskNotSubmitted):
        app.send_task("plus", (1,))
    sent = app.send_task("plain.adds", (1, 2), queue="taskdb")
    chain(plain(app), plain(app), app=app).apply_async(queue="taskdb")
    assert messages(taskdb)[0]["id"] == sent.id


def test_the_body_of_a_type_can_still_be_called(app: Celery) -> None:
    assert app.tasks["plus"](1, b=2) == 3


def receive(app: Celery, **message: Any) -> None:
    """A message comes to a pool process."""
    task = app.tasks["plus"]
    task.request_stack.push(Context(id=str(uuid4()), called_directly=False, **message))
    try:
        with pytest.raises(Ignore):
            task()
    finally:
        task.request_stack.pop()


@pytest.mark.parametrize(
    "message",
    [
        {"args": [1], "kwargs": {}, "argsrepr": "(1,)"},
        {"args": [], "kwargs": {"a": 1}, "argsrepr": "()"},
        {"args": [], "kwargs": {}, "argsrepr": "()"},
        {"args": [1], "kwargs": {}},
    ],
)
def test_a_message_of_a_plain_client_is_a_warning_that_says_what_to_do(
    app: Celery, monkeypatch: pytest.MonkeyPatch, message: dict[str, Any]
) -> None:
    monkeypatch.setattr(type(app.tasks["plus"]), "foreign", foreign.ForeignMessages())
    with logged() as log:
        for _ in range(3):
            receive(app, **message)
    (warned,) = events(log, "plain_call.refused")
    assert warned["log_level"] == "warning"
    assert (warned["type"], warned["count"]) == ("plus", 1)
    assert "submit_task" in warned["advice"]
    monkeypatch.setattr(seldom, "PAUSE_SECONDS", 0.0)
    app.tasks["plus"].foreign._rare_log._next.clear()
    with logged() as log:
        receive(app, **message)
        receive(app, **message)
    assert [one["count"] for one in events(log, "plain_call.refused")] == [3, 1]


def test_a_message_of_a_row_that_was_rolled_back_is_no_warning(app: Celery) -> None:
    with logged() as log:
        receive(app, args=[], kwargs={}, argsrepr="")
    assert events(log, "plain_call.refused") == []
    assert len(events(log, "message.ignored")) == 1


def test_a_message_of_a_submit_is_none_of_a_plain_client(taskdb: TaskDB) -> None:
    task = taskdb.submit_task("plus", {"a": 1})
    (message,) = messages(taskdb)
    assert (message["id"], message["headers"]["argsrepr"]) == (task.id, "")
    assert taskdb.get_task(task.id).status is TaskStatus.QUEUED
