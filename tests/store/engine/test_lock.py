"""Locks: neither migrations nor maintenance stop those who work, whoever has a transaction open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import psycopg
import pytest

from taskdb.errors import DatabaseError
from taskdb.store.engine.migrations import steps as migration_steps
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.engine.migrations.steps import SteppedConnection
from taskdb.store.engine.postgresql import partitions
from taskdb.store.store import Store
from taskdb.store.upkeep import StoreUpkeep
from tests.store.old_schema import indexes_per_day, open_transaction, schema
from tests.store.tasks import create, running, write
from tests.waiting import wait_until

MOST_SECONDS = 1.0
"""That a move of others may take: a wait of a fifth of a second, on a busy machine."""
MOVE = (
    "WITH moved AS (UPDATE taskdb_task SET attempt = attempt + 1 WHERE id = %(id)s"
    " RETURNING id, attempt) INSERT INTO taskdb_event (task_id, from_status, to_status, attempt)"
    " SELECT id, 'STARTED', 'STARTED', attempt FROM moved"
)


class Movers:
    """One process that moves a task, and one that reads the history, over and over."""

    def __init__(self, url: str, task_id: str) -> None:
        self.longest = 0.0
        self.rounds = 0
        self._url = url
        self._task_id = task_id
        self._stop = Event()

    def work(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._stop.is_set():
                began = time.monotonic()
                connection.execute(MOVE, {"id": self._task_id})
                connection.execute(
                    "SELECT count(*) FROM taskdb_event WHERE task_id = %s", [self._task_id]
                )
                self.longest = max(self.longest, time.monotonic() - began)
                self.rounds += 1

    def have_worked(self) -> None:
        """Wait for some more rounds."""
        until = self.rounds + 200
        wait_until(lambda: self.rounds >= until, timeout=60)

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def others_at_work(url: str) -> Iterator[Movers]:
    """Processes that move tasks; each move must take but a little."""
    plain = url.replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        found = connection.execute(
            "INSERT INTO taskdb_task (type) VALUES ('x') RETURNING id"
        ).fetchone()
    assert found
    movers = Movers(plain, found[0])
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(movers.work)
        try:
            movers.have_worked()
            yield movers
        finally:
            movers.stop()
            working.result(60)
    assert movers.longest < MOST_SECONDS


@contextmanager
def in_background(act: Callable[[], Any]) -> Iterator[Future[Any]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(act)


@pytest.fixture
def store_without_days(postgresql_store: Store) -> Store:
    """A history that lacks the days from tomorrow on."""
    for day in range(1, 8):
        coming = datetime.now(UTC) + timedelta(days=day)
        write(postgresql_store, f"DROP TABLE taskdb_event_{coming:%Y%m%d}")
    return postgresql_store


def test_days_are_made_while_a_callers_transaction_is_open(store_without_days: Store) -> None:
    url = store_without_days.database.url
    with others_at_work(url) as movers, open_transaction(url, reads=False):
        assert len(store_without_days.partitions.create()) == 7
        movers.have_worked()


def test_days_that_a_reader_stands_in_the_way_of_are_made_once_it_is_gone(
    store_without_days: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskdb.store.retention.partition.TRIES", 2)
    url, days = store_without_days.database.url, store_without_days.partitions
    with others_at_work(url):
        with open_transaction(url, reads=True):
            assert (days.create(), days.is_postponed) == ([], True)
        assert (len(days.create()), days.is_postponed) == (7, False)


def test_a_day_that_waits_in_the_default_partition_moves_when_nobody_writes_there(
    store_without_days: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskdb.store.retention.partition.TRIES", 2)
    store = store_without_days
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    event = "INSERT INTO taskdb_event (task_id, to_status, at) VALUES (%s, 'CREATED', %s)"
    run, days = running(store), store.partitions
    with others_at_work(store.database.url):
        with open_transaction(store.database.url, reads=False) as caller:
            caller.execute(event, [run.id, tomorrow])
            assert (days.create(), days.is_postponed) == ([], True)
            caller.commit()
        assert len(days.create()) == 7
    (row,) = write(
        store,
        "SELECT tableoid::regclass::text AS place FROM taskdb_event WHERE at = :at",
        at=tomorrow,
    )
    assert row["place"] == f"taskdb_event_{tomorrow:%Y%m%d}"


def test_a_day_with_too_many_rows_stays_in_the_default_partition_and_the_others_are_made(
    store_without_days: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MOST_MOVED", 2)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for _ in range(3):
        write(
            store_without_days,
            "INSERT INTO taskdb_event (task_id, to_status, at)"
            " VALUES (gen_random_uuid(), 'CREATED', :at)",
            at=tomorrow,
        )
    days = store_without_days.partitions
    assert f"taskdb_event_{tomorrow:%Y%m%d}" not in days.create()
    assert not days.is_postponed
    assert len(write(store_without_days, "SELECT 1 FROM taskdb_event_default")) == 3


def test_a_sweep_of_days_waits_once_and_leaves_them_to_the_next(postgresql_store: Store) -> None:
    store = postgresql_store
    for number in range(1, 9):
        write(
            store,
            f"CREATE TABLE taskdb_event_2025010{number} PARTITION OF taskdb_event"
            f" FOR VALUES FROM ('2025-01-0{number}') TO ('2025-01-0{number + 1}')",
        )
    sweeping = StoreUpkeep(store).leftovers(timedelta(days=30))
    with others_at_work(store.database.url) as movers:
        with open_transaction(store.database.url, reads=False):
            began = time.monotonic()
            assert sweeping.partitions() == []
            assert time.monotonic() - began < 8 * 0.2
            movers.have_worked()
        assert len(sweeping.partitions()) == 8


# --- migrations -----------------------------------------------------------------------------------


def test_a_migration_lets_others_move_while_a_callers_transaction_is_open(
    old_url: str, new_url: str, next_release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_steps, "PAUSE_SECONDS", 0.2)
    with (
        others_at_work(old_url) as movers,
        open_transaction(old_url, reads=True) as caller,
        in_background(lambda: migrate(old_url)) as migrating,
    ):
        for _ in range(3):
            movers.have_worked()
        assert not migrating.done()
        caller.commit()
        assert migrating.result(120) == next_release
    assert schema(old_url) == schema(new_url)
    assert len(indexes_per_day(old_url)) == 1
    with Store(old_url).closing() as store:
        assert create(store)


@pytest.mark.parametrize("steps", [1, 5, 10, 15])
def test_a_migration_that_was_interrupted_goes_on_where_it_stopped(
    old_url: str, new_url: str, next_release: str, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    left = [steps]
    step = SteppedConnection._step

    def interrupted(self: SteppedConnection, statement: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        step(self, statement)

    with monkeypatch.context() as patched:
        patched.setattr(SteppedConnection, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            migrate(old_url)
    assert migrate(old_url) == next_release
    assert schema(old_url) == schema(new_url)


def test_the_build_of_an_index_that_was_cut_short_begins_anew(
    old_url: str, new_url: str, next_release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = SteppedConnection._run

    def cut(self: SteppedConnection, statement: str) -> None:
        build(self, statement)
        if "CONCURRENTLY" in statement and "_taskdb_event_of_next" in statement:
            # As the server leaves an index whose build it did not end.
            name = statement.split()[3]
            build(
                self,
                f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass",
            )
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SteppedConnection, "_run", cut)
        with pytest.raises(KeyboardInterrupt):
            migrate(old_url)
    assert migrate(old_url) == next_release
    assert schema(old_url) == schema(new_url)
    assert len(indexes_per_day(old_url)) == 1


def test_a_migration_that_never_gets_its_lock_says_so_and_the_next_one_goes_on(
    old_url: str, next_release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_steps, "PATIENCE_SECONDS", 0.5)
    with open_transaction(old_url, reads=True), pytest.raises(DatabaseError, match="lock timeout"):
        migrate(old_url)
    assert migrate(old_url) == next_release
