"""What pruning leaves behind in an SQLite file goes back to the file system, in small bites."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from taskdb.cli.database.doctor import diagnose
from taskdb.client.taskdb import TaskDB
from taskdb.settings.settings import Settings
from taskdb.store.contract import EVERYONE
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.retention.free_space import PAGES_KEPT
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.store.upkeep import StoreUpkeep

MEBIBYTE = 1024 * 1024


def filled(store: Store, mebibytes: int) -> None:
    """Rows of so many MiB, and all of them deleted."""
    with store.database.transaction() as connection:
        connection.execute(text("CREATE TABLE ballast (content BLOB)"))
        for _ in range(mebibytes):
            connection.execute(text("INSERT INTO ballast VALUES (zeroblob(1048576))"))
    with store.database.transaction() as connection:
        connection.execute(text("DELETE FROM ballast"))


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


@pytest.fixture
def taskdb(tmp_path: Path) -> TaskDB:
    return TaskDB(Settings(data_dir=tmp_path / "data"))


def test_a_file_becomes_smaller_when_its_rows_are_gone(taskdb: TaskDB, tmp_path: Path) -> None:
    path = tmp_path / "data" / "tasks.sqlite3"
    with taskdb:
        filled(taskdb.store, 40)
        space = StoreUpkeep(taskdb.store).free_space
        given = 0
        while pages := space.give_back(0.2):
            given += pages
        assert given * 4096 > 38 * MEBIBYTE
        taskdb.store.database.read(
            lambda one: one.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).all()
        )
        left = taskdb.store.database.read(
            lambda one: one.execute(text("PRAGMA freelist_count")).scalar_one()
        )
    assert left <= PAGES_KEPT
    assert size_of(path) < 4 * MEBIBYTE


def test_a_connection_is_opened_beside_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "tasks.sqlite3"
    migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with Store(f"sqlite:///{path}?timeout=0.1").closing() as store:
            assert store.tasks.page(Filter(), EVERYONE, limit=10) == []


def test_others_write_meanwhile(taskdb: TaskDB, tmp_path: Path) -> None:
    longest = 0.0
    done = threading.Event()

    def write() -> None:
        nonlocal longest
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as other:
            while not done.is_set():
                began = time.monotonic()
                other.execute("UPDATE ballast SET content = content")
                longest = max(longest, time.monotonic() - began)

    path = tmp_path / "data" / "tasks.sqlite3"
    with taskdb:
        filled(taskdb.store, 40)
        writer = threading.Thread(target=write)
        writer.start()
        space = StoreUpkeep(taskdb.store).free_space
        while space.give_back(1.0):
            pass
        done.set()
        writer.join()
    # A bite takes about a millisecond; a busy machine is given a thousand times that.
    assert longest < 5.0


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_postgresql_needs_none_of_it(store_url: str) -> None:
    with Store(store_url).closing() as store:
        assert StoreUpkeep(store).free_space.give_back(1.0) == 0
        assert StoreUpkeep(store).free_space.can_shrink()


def test_a_file_of_an_older_release_is_named_by_the_doctor(taskdb: TaskDB, tmp_path: Path) -> None:
    path = tmp_path / "data" / "tasks.sqlite3"
    with taskdb:
        assert taskdb.store.database.query("SELECT 1", {})
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    with taskdb:
        filled(taskdb.store, 4)
        assert StoreUpkeep(taskdb.store).free_space.give_back(1.0) == 0
        (found,) = [one for one in diagnose(taskdb) if one.name == "space_kept"]
    assert found.examples == (str(path),)
    # As the advice says.
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")
    with taskdb:
        assert StoreUpkeep(taskdb.store).free_space.can_shrink()
        assert not [one for one in diagnose(taskdb) if one.name == "space_kept"]
    assert path.stat().st_size < 4 * MEBIBYTE
