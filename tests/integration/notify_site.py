"""What the tests of notifications share: subscriptions, and a deliver loop that they drive."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.servers import Receiver
from tests.store.tasks import DONE

from taskdb import Settings, TaskDB
from taskdb.model.subscription import KeyedSubscription
from taskdb_beat.loops.deliver import Deliver

HERE = "127.0.0.0/8"


def settings_of(store_url: str, folder: Path, **values: Any) -> Settings:
    given = {
        "database_url": store_url,
        "data_dir": folder,
        "allow_unknown_types": True,
        "outbound_private": (HERE,),
        "outbound_ports": "1-65535",
        "outbound_http": True,
        "outbound_total_seconds": 2,
        **values,
    }
    return Settings.load({}, **given)


@contextmanager
def site(store_url: str, folder: Path, **values: Any) -> Iterator[TaskDB]:
    with TaskDB(settings_of(store_url, folder, **values)) as taskdb:
        # Nothing is published: what moves, the tests move.
        taskdb._connections.background._breaker = 600
        taskdb._connections.background._trip("a test", 0)
        yield taskdb


@contextmanager
def delivering(taskdb: TaskDB) -> Iterator[Deliver]:
    with closing(Deliver(taskdb.settings, taskdb.store)) as deliver:
        yield deliver


def deliver_all(deliver: Deliver) -> None:
    """A pass, and all that it began."""
    deliver.run_once()
    assert deliver.settle(30)


def hook(
    taskdb: TaskDB, receiver: Receiver, name: str = "hook", **options: Any
) -> KeyedSubscription:
    return taskdb.subscriptions.create(name, "webhook", receiver.url, **options)


def run_tasks(taskdb: TaskDB, *ids: str) -> None:
    """Claim and complete tasks, as a worker would."""
    for task_id in ids:
        assert taskdb.store.runs.claim(task_id, token="t", worker="w", max_attempts=3).granted
        taskdb.store.outcomes.complete(task_id, "t", DONE)


def told(receiver: Receiver) -> list[tuple[str, str]]:
    """Task and status of each message that was taken, in order."""
    return [(one.json["taskId"], one.json["content"]["status"]) for one in receiver.taken]
