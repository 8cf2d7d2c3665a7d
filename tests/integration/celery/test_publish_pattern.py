"""Messages made after a pattern: as Celery makes each of them by itself, on every broker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, signals
from kombu.utils.json import loads
from tests.integration.submit_site import client, messages, settings, until_queued

from taskdb import TaskDB
from taskdb.celery.configuration import create_celery
from taskdb.celery.publish.message_pattern import Pattern

DEADLINE = datetime(2040, 1, 1, tzinfo=UTC)
OWN = ("id", "root_id")


@pytest.fixture(params=["embedded", "redis", "rabbitmq"])
def taskdb(request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    url = settings(sqlite_url, tmp_path).message_url
    if request.param != "embedded":
        url = str(request.getfixturevalue(f"{request.param}_url"))
    with client(sqlite_url, tmp_path, broker_url=url) as taskdb:
        yield taskdb


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the messages that were made after a pattern."""
    found: list[str] = []
    send = Pattern.send

    def recorded(self: Pattern, producer: Any, message_id: str, added: Any) -> None:
        found.append(message_id)
        send(self, producer, message_id, added)

    monkeypatch.setattr(Pattern, "send", recorded)
    return found


@contextmanager
def listening(signal: Any, receiver: Callable[..., Any]) -> Iterator[None]:
    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)


def many(taskdb: TaskDB) -> list[str]:
    return [one.id for one in taskdb.submit_many("echo", range(4), priority=7)]


def late(taskdb: TaskDB) -> list[str]:
    return [one.id for one in taskdb.submit_many("echo", range(4), deadline=DEADLINE)]


def parts(taskdb: TaskDB) -> list[str]:
    parent = taskdb.submit_fan_out("echo", range(4))
    return [one.id for one in taskdb.list_tasks(parent_id=parent.id, limit=10)]


def raw(taskdb: TaskDB, count: int) -> list[dict[str, Any]]:
    """All of some messages but what is each one's own; taken from the broker."""
    found: list[dict[str, Any]] = []
    with create_celery(taskdb.settings) as app, app.connection_for_read() as connection:
        queue = app.amqp.queues["taskdb"](connection.channel())
        for _ in range(count):
            message = queue.get(no_ack=True)
            assert message.properties["correlation_id"] == message.headers["id"]
            if message.headers["parent_id"] is None:
                assert message.headers["root_id"] == message.headers["id"]
            parent = message.headers["parent_id"]
            found.append(
                {
                    "headers": {
                        name: value for name, value in message.headers.items() if name not in OWN
                    },
                    "properties": {
                        name: value
                        for name, value in message.properties.items()
                        if name not in {"correlation_id", "delivery_tag", "application_headers"}
                    },
                    "kind": (message.content_type, message.content_encoding),
                    "body": loads(_text(message.body)),
                    "order": list(message.headers),
                    "has_parent": parent is not None,
                }
            )
            for part in ("parent_id", "group"):
                if parent is not None and found[-1]["headers"][part] == parent:
                    found[-1]["headers"][part] = "the parent"
    return found


def _text(body: Any) -> str:
    return body.decode() if isinstance(body, bytes) else str(body)


@pytest.mark.parametrize("submit", [many, late, parts])
def test_they_are_the_same_to_the_last_header(
    taskdb: TaskDB, submit: Callable[[TaskDB], list[str]], made: list[str]
) -> None:
    ids = submit(taskdb)
    until_queued(taskdb, *ids)
    after_a_pattern = raw(taskdb, 4)
    assert len(made) == 3 and set(made) < set(ids)
    with listening(signals.before_task_publish, lambda **_: None):
        ids = submit(taskdb)
        until_queued(taskdb, *ids)
    assert len(made) == 3
    assert raw(taskdb, 4) == after_a_pattern


def test_tasks_of_two_types_and_deadlines_in_one_batch_have_each_their_own(
    taskdb: TaskDB, made: list[str]
) -> None:
    with taskdb._connections.background.resting():
        ids = [
            taskdb.submit_task(type, {"a": 1}, deadline=deadline, priority=priority).id
            for type in ("echo", "plus")
            for deadline in (None, DEADLINE)
            for priority in (3, 3, 4)
        ]
    taskdb.publisher.publish(taskdb.store.publications.find(ids))
    found = {message["id"]: message for message in messages(taskdb)}
    assert set(found) == set(ids) and len(made) == 4
    for task_id in ids:
        entity, headers = taskdb.get_task(task_id), found[task_id]["headers"]
        assert headers["task"] == entity.type
        expires = None if entity.deadline_at is None else entity.deadline_at.isoformat()
        assert (headers["expires"], headers["root_id"]) == (expires, task_id)


def test_who_listens_hears_of_every_message(taskdb: TaskDB, made: list[str]) -> None:
    heard: list[Any] = []

    def hear(sender: str, body: Any, headers: Any, exchange: str, routing_key: str, **_: Any):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a signal's answer is nobody's
        heard.append((headers["id"], sender, body, exchange, routing_key))

    with listening(signals.after_task_publish, hear):
        ids = many(taskdb)
        until_queued(taskdb, *ids)
    assert len(made) == 3
    assert [one[0] for one in heard] == ids
    assert all(one[1:] == heard[0][1:] for one in heard)


def test_who_may_change_a_message_gets_each_from_celery(taskdb: TaskDB, made: list[str]) -> None:
    def stamp(headers: dict[str, Any], **_: Any) -> None:
        headers["stamped"] = headers["id"]

    with listening(signals.before_task_publish, stamp):
        ids = many(taskdb)
        until_queued(taskdb, *ids)
    assert made == []
    assert all(one["headers"]["stamped"] == one["id"] for one in messages(taskdb))


def test_what_is_put_around_celery_sees_each_message(
    taskdb: TaskDB, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    send = Celery.send_task

    def around(self: Celery, *arguments: Any, **options: Any) -> Any:
        seen.append(options["task_id"])
        return send(self, *arguments, **options)

    around.__wrapped__ = send  # type: ignore[attr-defined]  # as `functools.wraps` does
    monkeypatch.setattr(Celery, "send_task", around)
    ids = many(taskdb)
    until_queued(taskdb, *ids)
    assert (made, seen) == ([], ids)
