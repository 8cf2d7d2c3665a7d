"""Clients for the tests of submitting and publishing, and looks at what they did."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from kombu import Connection
from sqlalchemy import create_engine, event
from tests.waiting import wait_until

from taskdb import Registry, Settings, TaskDB, task
from taskdb.celery.configuration import create_celery
from taskdb.celery.embedded.broker import broker_url
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE

REPOSITORY = Path(__file__).parents[2]
SECRET = "s3cret-value-of-the-input"


def registry() -> Registry:
    """A registry with a type for each need."""
    found = Registry()
    task("echo", registry=found)(lambda input: input)
    task("plus", registry=found)(plus)
    task("once", registry=found, unique="a")(plus)
    return found


def plus(a: int, b: int = 0) -> int:
    return a + b


def settings(store_url: str, folder: Path, **values: Any) -> Settings:
    """Settings on this database, with the embedded broker unless they name one."""
    given = {
        "database_url": store_url,
        "broker_url": broker_url(folder / "messages.sqlite3"),
        "data_dir": folder,
        "payload_inline_bytes": 1_000,
        "payload_limit_bytes": 100_000,
        # A look at the queue follows a submit at once, also on a busy machine.
        "publish_budget_seconds": 20,
        # The relay's part is what its own tests are about.
        "relay_grace_seconds": 0.2,
    }
    return Settings(**{**given, **values})


@contextmanager
def client(store_url: str, folder: Path, **values: Any) -> Iterator[TaskDB]:
    with TaskDB(settings(store_url, folder, **values), registry=registry()) as taskdb:
        yield taskdb


def files(taskdb: TaskDB) -> list[Path]:
    """Payloads, whole or in part."""
    return [path for path in taskdb.settings.payload_folder.rglob("*") if path.is_file()]


def statuses(taskdb: TaskDB) -> list[str]:
    """The status of every task, oldest first."""
    return [str(one.status) for one in taskdb.list_tasks(limit=1_000, order="oldest")]


def count(taskdb: TaskDB, status: TaskStatus | None = None) -> int:
    where = "" if status is None else f" WHERE status = '{status}'"
    with taskdb.store.database.transaction() as connection:
        return int(
            connection.exec_driver_sql(f"SELECT count(*) FROM taskdb_task{where}").scalar_one()
        )


def messages(taskdb: TaskDB, queue: str = "taskdb") -> list[dict[str, Any]]:
    """Takes every message of a queue, in the order in which the broker gives them."""
    found: list[dict[str, Any]] = []
    with create_celery(taskdb.settings) as app, app.connection_for_read() as connection:
        channel = connection.channel()
        bound = app.amqp.queues[queue](channel)
        bound.declare()
        while (message := bound.get(no_ack=True)) is not None:
            body = message.body
            found.append(
                {
                    "id": message.headers["id"],
                    "task": message.headers["task"],
                    "priority": message.properties.get("priority"),
                    "headers": message.headers,
                    "body": body.decode() if isinstance(body, bytes) else str(body),
                }
            )
    return found


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [message["id"] for message in found]


def until_queued(taskdb: TaskDB, *task_ids: str, timeout: float = 10) -> None:
    def queued() -> bool:
        return all(taskdb.get_task(one).status is TaskStatus.QUEUED for one in task_ids)

    wait_until(queued, timeout, lambda: f"QUEUED, but they are {statuses(taskdb)[:10]}")


def assert_published(taskdb: TaskDB, *task_ids: str) -> None:
    """These were published since the last look at the queue, and no others."""
    until_queued(taskdb, *task_ids)
    # A task submitted now is published after all that the hooks have handed over.
    last = taskdb.submit_task("echo").id
    until_queued(taskdb, last)
    assert sorted(ids(messages(taskdb))) == sorted([*task_ids, last])


def end(taskdb: TaskDB, task_id: str, status: str) -> None:
    """Bring a created or queued task to a status, as a worker would."""
    from taskdb.model.entity import TaskError  # noqa: PLC0415
    from taskdb.store.payload.payload import Payload  # noqa: PLC0415

    store = taskdb.store
    error = TaskError("builtins.ValueError", "oops", "a traceback")
    if status == "CANCELED":
        store.interventions.cancel(task_id, EVERYONE)
        return
    if status in {"CREATED", "QUEUED", "SCHEDULED"}:
        return
    assert store.runs.claim(task_id, token="t", worker="w", max_attempts=3).granted
    ways: dict[str, Callable[[], Any]] = {
        "STARTED": lambda: None,
        "COMPLETED": lambda: store.outcomes.complete(
            task_id, "t", Payload({"sum": 3}, '{"sum":3}')
        ),
        "FAILED": lambda: store.outcomes.fail(task_id, "t", error),
        "HALTED": lambda: store.outcomes.halt(task_id, "t", error),
        "ERRORED": lambda: store.outcomes.error(task_id, "t", error, timedelta(hours=1)),
        "SNOOZED": lambda: store.outcomes.snooze(task_id, "t", timedelta(hours=1)),
    }
    ways[status]()


@contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """What this package logs, as events."""
    with structlog.testing.capture_logs() as found:
        yield found  # type: ignore[misc]


def events(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [one for one in found if one["event"] == name]


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def engine_on(store_url: str) -> Any:
    """An engine of a user's own on the database, with transactions as SQLAlchemy advises."""
    engine = create_engine(store_url)
    if store_url.startswith("sqlite"):
        begin_by_hand(engine)
    return engine


def begin_by_hand(engine: Any) -> None:
    """SQLAlchemy's recipe for savepoints on SQLite."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")


def as_json(text: str) -> Any:
    return json.loads(text)


def depth(url: str, queue: str = "taskdb") -> int:
    """Messages that wait in a queue of any broker."""
    with Connection(url) as connection:
        return int(connection.channel().queue_declare(queue, passive=True).message_count)
