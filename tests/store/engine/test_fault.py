"""A database that is away, in the way, broken, or back again."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskdb.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable
from taskdb.store.contract import EVERYONE
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from tests.processes import Processes
from tests.servers import Blackhole, PostgreSQL
from tests.servers.server import free_port
from tests.store.tasks import DONE, claim, create, draft, running
from tests.waiting import wait_until


def test_a_refused_port_is_said_at_once_and_without_the_password() -> None:
    url = f"postgresql+psycopg://me:hunter2@127.0.0.1:{free_port()}/name"
    with Store(url).closing() as store:
        for act in (
            lambda: create(store),
            lambda: store.tasks.get(draft().id, EVERYONE),
            lambda: migrate(url),
        ):
            with pytest.raises(DatabaseUnreachable, match="TASKDB_DATABASE_URL") as raised:
                act()
            assert "hunter2" not in str(raised.value)


def test_a_server_that_never_answers_costs_a_bounded_time(blackhole: Blackhole) -> None:
    url = f"postgresql+psycopg://me@{blackhole.host}:{blackhole.port}/name"
    with Store(url).closing() as store:
        begun = time.monotonic()
        with pytest.raises(DatabaseUnreachable):
            create(store)
        assert time.monotonic() - begun < 12


def test_the_first_move_after_a_restart_works(own_postgresql: PostgreSQL) -> None:
    with Store(own_postgresql.url, pool_size=4).closing() as store:
        runs = [running(store) for _ in range(3)]
        with store.database.session(), store.database.session(), store.database.session():
            pass  # three lines in the pool
        for stop in (own_postgresql.stop, own_postgresql.kill):
            stop()
            own_postgresql.start()
            assert store.outcomes.complete(runs[0].id, runs[0].token, DONE) == "COMPLETED"
            assert store.tasks.page(Filter(), EVERYONE, limit=10)
            assert claim(store, create(store, unique_key=stop.__name__))


def test_a_server_that_is_away_is_said_and_is_found_again(own_postgresql: PostgreSQL) -> None:
    with Store(own_postgresql.url).closing() as store:
        run = running(store)
        own_postgresql.stop()
        for _ in range(2):
            with pytest.raises(DatabaseUnreachable):
                store.outcomes.complete(run.id, run.token, DONE)
        own_postgresql.start()
        assert store.outcomes.complete(run.id, run.token, DONE) == "COMPLETED"


class _TimeIsUpError(Exception):
    pass


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """As a soft time limit does it: an exception from nowhere, in the middle of a statement."""

    def up(*_: Any) -> None:
        raise _TimeIsUpError

    before = signal.signal(signal.SIGALRM, up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("way", ["move", "read"])
def test_a_statement_that_was_cut_short_spoils_no_connection(
    postgresql_store: Store, way: str
) -> None:
    store = postgresql_store
    run = running(store)
    sleep = "SELECT pg_sleep(1)"
    ways: dict[str, Callable[[], Any]] = {
        "move": lambda: store.database.query(sleep, {}),
        "read": lambda: store.database.read(lambda line: line.exec_driver_sql(sleep)),
    }
    for _ in range(3):
        with pytest.raises(_TimeIsUpError), alarm(0.2):
            ways[way]()
    assert store.tasks.get(run.id, EVERYONE).id == run.id
    assert store.outcomes.complete(run.id, run.token, DONE) == "COMPLETED"


def test_a_child_makes_its_own_connections(store_url: str, processes: Processes) -> None:
    code = f"""
import os
from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from tests.store.tasks import create, running, DONE
store = Store({store_url!r})
run = running(store)
child = os.fork()
if child == 0:
    assert store.outcomes.complete(run.id, run.token, DONE) == "COMPLETED"
    store.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert store.tasks.get(run.id, EVERYONE).status == "COMPLETED"
assert create(store)
store.close()
"""
    process = processes.python("-W", "ignore", "-c", code, cwd=Path(__file__).parents[3])
    assert process.wait() == 0, process.output


# --- SQLite ---------------------------------------------------------------------------------------


def test_a_locked_file_is_said(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    with Store(f"{sqlite_url}?timeout=0.2").closing() as store:
        run = running(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseUnreachable, match="locked"):
                store.outcomes.complete(run.id, run.token, DONE)
            assert store.tasks.get(run.id, EVERYONE).id == run.id  # reading waits for nobody
        assert store.outcomes.complete(run.id, run.token, DONE) == "COMPLETED"


def test_a_writer_waits_for_another(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    with (
        Store(sqlite_url).closing() as store,
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
    ):
        create(store)
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(create, store)
            wait_until(waiting.running)
            other.execute("COMMIT")
            assert waiting.result()


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "tasks.sqlite3"
    path.write_bytes(b"this is no database " * 1000)
    url = f"sqlite:///{path}"
    with Store(url).closing() as store:
        for act in (lambda: create(store), lambda: migrate(url)):
            with pytest.raises(DatabaseError, match="not a database"):
                act()


def test_a_file_that_was_damaged_is_said(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with Store(sqlite_url).closing() as store:
        create(store)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    with Store(sqlite_url).closing() as store, pytest.raises(DatabaseError):
        create(store)


def test_a_file_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "tasks.sqlite3").mkdir()
    with (
        Store(f"sqlite:///{tmp_path / 'tasks.sqlite3'}").closing() as store,
        pytest.raises(DatabaseUnreachable, match="unable to open"),
    ):
        create(store)


def test_a_database_that_may_only_be_read_is_said(store_url: str) -> None:
    with Store(store_url).closing() as store:
        task_id = create(store)
        if store.database.dialect.name == "sqlite":
            url = f"sqlite:///file:{store_url.removeprefix('sqlite:///')}?mode=ro&uri=true"
        else:
            url = store_url
            name = store.database.query("SELECT current_database() AS name", {})[0]["name"]
            sql = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
            store.database.query(sql, {})
    with Store(url).closing() as store:
        with pytest.raises(DatabaseRefused, match=r"read-?only"):
            create(store)
        assert store.tasks.get(task_id, EVERYONE).id == task_id
