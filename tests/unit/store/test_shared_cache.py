"""Two connections to a memory that the process shares, as a suite of Django's has them."""

import sqlite3
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from tests.waiting import wait_until

from taskdb.store.engine.sqlite import shared_cache
from taskdb.store.engine.sqlite.sqlite import SQLite

INSERT = text("INSERT INTO word VALUES ('ours')")


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    return f"file:{request.node.name}?mode=memory&cache=shared"


@pytest.fixture
def holder(place: str) -> Iterator[sqlite3.Connection]:
    """A connection of somebody else's, in a transaction that has written."""
    connection = sqlite3.connect(place, uri=True, check_same_thread=False, isolation_level=None)
    connection.execute("CREATE TABLE word (word TEXT)")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO word VALUES ('theirs')")
    yield connection
    connection.close()


@pytest.fixture
def engine(place: str, holder: sqlite3.Connection) -> Iterator[Engine]:
    made = SQLite().create_engine(f"sqlite:///{place}&uri=true", 2)
    yield made
    made.dispose()


def test_who_writes_waits_for_the_transaction_of_another(
    engine: Engine, holder: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()
    pause = shared_cache.time.sleep

    def sleep(seconds: float) -> None:
        refused.set()
        pause(seconds)

    monkeypatch.setattr(shared_cache.time, "sleep", sleep)
    words: list[str] = []

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(INSERT)
        with SQLite().session(engine, writes=True) as session:
            words.extend(row["word"] for row in session.run("SELECT word FROM word", {}))

    writer = threading.Thread(target=write)
    writer.start()
    assert refused.wait(10)
    holder.execute("COMMIT")
    wait_until(lambda: not writer.is_alive(), 10)
    assert words == ["theirs", "ours"]


def test_the_patience_has_an_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_cache, "_PATIENCE_SECONDS", 0.1)
    with pytest.raises(sqlite3.OperationalError, match="locked") as raised:  # noqa: SIM117
        with SQLite().session(engine, writes=True):
            pass
    assert raised.value.sqlite_errorname.startswith("SQLITE_LOCKED")


def test_who_only_reads_sees_what_is_not_committed(engine: Engine) -> None:
    with SQLite().session(engine, writes=False) as session:
        assert [row["word"] for row in session.run("SELECT word FROM word", {})] == ["theirs"]
