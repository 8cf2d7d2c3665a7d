"""Views that submit in their transaction, on real servers: what is committed is there, no more."""

import random
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import RemoteDisconnected
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from tests.integration.submit_site import ids, messages
from tests.processes import Processes, RunningProcess
from tests.waiting import wait_until

from taskdb import Settings, TaskDB, TaskEntity
from taskdb_beat import Relay

# What is twice there is noticed at the commit, and not before.
TABLE = "CREATE TABLE shop_order (name TEXT UNIQUE DEFERRABLE INITIALLY DEFERRED)"
THREADS = 50
EACH = 4
DRIVERS = {
    "flask": ("flask", "postgresql+psycopg"),
    "fastapi-sync": ("sync", "postgresql+psycopg"),
    "fastapi-asyncpg": ("async", "postgresql+asyncpg"),
    "fastapi-psycopg": ("async", "postgresql+psycopg"),
}


@dataclass
class Shop:
    """One application on its own server, and a look at what it has done."""

    url: str
    taskdb: TaskDB
    server: RunningProcess
    messages: set[str] = field(default_factory=set)

    def order(self, name: str, end: str = "well") -> int:
        """The status of the answer; 0 where there was none."""
        headers = {"X-Request-ID": f"request-{name}"}
        request = urllib.request.Request(f"{self.url}/orders/{name}/{end}", b"", headers)  # noqa: S310 - our own server
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own server
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except (urllib.error.URLError, RemoteDisconnected, ConnectionError):
            return 0

    def orders(self) -> set[str]:
        engine = create_engine(self.taskdb.settings.store_url)
        with engine.connect() as connection:
            names = connection.execute(text("SELECT name FROM shop_order")).scalars().all()
        engine.dispose()
        assert len(names) == len(set(names))
        return set(names)

    def tasks(self) -> dict[str, TaskEntity]:
        found = self.taskdb.list_tasks(limit=1_000)
        assert found.next_cursor is None
        by_name = {one.input["name"]: one for one in found}
        assert len(by_name) == len(found)
        return by_name

    def all_are_published(self) -> None:
        """By the server, or by a relay where it could not; and nothing else is.

        On a busy machine a relay may be faster than the mark of who has published.
        """
        relay = Relay(self.taskdb.settings, self.taskdb.store, self.taskdb.publisher)

        def published() -> bool:
            relay.run_once()
            return all(one.status == "QUEUED" for one in self.tasks().values())

        wait_until(published, 20, "every committed task to be published")
        self.messages |= set(ids(messages(self.taskdb)))
        assert self.messages == {one.id for one in self.tasks().values()}


@pytest.fixture(params=DRIVERS)
def shop(
    request: pytest.FixtureRequest,
    postgresql_url: str,
    redis_url: str,
    tmp_path: Path,
    processes: Processes,
) -> Iterator[Shop]:
    kind, driver = DRIVERS[request.param]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = Settings(
        database_url=postgresql_url, broker_url=redis_url, data_dir=tmp_path, relay_grace_seconds=1
    )
    engine = create_engine(settings.store_url)
    with engine.begin() as connection:
        connection.execute(text(TABLE))
    engine.dispose()
    environment = {
        "TASKDB_DATABASE_URL": postgresql_url,
        "TASKDB_BROKER_URL": redis_url,
        "TASKDB_DATA_DIR": str(tmp_path),
        "TASKDB_RELAY_GRACE_SECONDS": "1",
        "SHOP_DATABASE_URL": settings.store_url.replace("postgresql+psycopg", driver),
    }

    def start() -> RunningProcess:
        server = processes.python(
            "-m", "tests.integration.contrib.web_site", kind, str(port), env=environment
        )
        wait_until(lambda: listens(port) or not server.is_running, 60, "the server to listen")
        return server

    with TaskDB(settings) as taskdb:
        yield Shop(f"http://127.0.0.1:{port}", taskdb, start())


def listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def test_what_a_view_commits_is_there_and_what_it_does_not_is_nowhere(shop: Shop) -> None:
    # One that raises after the submit leaves no row and no message.
    assert shop.order("first") == 200
    assert shop.order("lost", "raise") == 500
    # Nor does one whose commit fails, and the answer tells so.
    assert shop.order("first") == 500
    task = shop.tasks()["first"]
    assert (task.request_id, task.created_by, task.created_ip) == (
        *("request-first", "7"),
        "127.0.0.1",
    )
    shop.all_are_published()

    # Many at once, at random.
    chance = random.Random(7)
    wishes = [
        (f"order-{number}", chance.choice(["well", "raise"])) for number in range(THREADS * EACH)
    ]
    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(lambda wish: shop.order(*wish), wishes))
    assert set(answers) == {200, 500}
    for (_, end), answer in zip(wishes, answers, strict=True):
        assert answer == (200 if end == "well" else 500)
    expected = {"first", *(name for name, end in wishes if end == "well")}
    assert shop.orders() == set(shop.tasks()) == expected
    shop.all_are_published()

    # A kill -9 right after the commit loses nothing.
    assert shop.order("dying", "die") == 0
    wait_until(lambda: not shop.server.is_running, 20, "the server to be dead")
    assert shop.server.exit_code == -signal.SIGKILL
    assert shop.orders() == set(shop.tasks()) == expected | {"dying"}
    assert shop.tasks()["dying"].status == "CREATED"
    shop.all_are_published()
