"""After a restore: the history is read in order, each event once, by every cursor there is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import count
from typing import Any

import psycopg
import pytest

from taskdb.model.subscription import EventFilter, TransportKind
from taskdb.store.contract import EVERYONE
from taskdb.store.engine.cluster import LEAP
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.engine.restore import settle
from taskdb.store.outgoing.delivery import LeasedSubscription, Passed
from taskdb.store.outgoing.subscription.subscription import NewSubscription
from taskdb.store.store import Store
from taskdb.store.task.list import EventCursor
from taskdb.store.upkeep import StoreUpkeep
from tests.servers import PostgreSQL
from tests.store.alarms import fold
from tests.store.deliveries import lease, notifications
from tests.store.tasks import LEASE, OOPS, create, running, write

_numbers = count(1)
SPENT = 20_000
"""Transactions that the first cluster has had and the second has not."""
SPEND = f"""
CREATE TEMPORARY TABLE spent (n INTEGER);
DO $$ BEGIN FOR i IN 1..{SPENT} LOOP
BEGIN INSERT INTO spent VALUES (i); EXCEPTION WHEN division_by_zero THEN NULL; END;
END LOOP; END $$
"""


def fail(store: Store, **values: Any) -> str:
    run = running(store, **values)
    store.outcomes.fail(run.id, run.token, OOPS)
    return run.id


def counted(store: Store) -> int:
    """How many failures a pass has counted into alarms."""
    return fold(store).events


def subscribe(store: Store, name: str = "hook") -> None:
    store.subscriptions.add(
        NewSubscription(
            name=name,
            tenant=None,
            transport=TransportKind.LOG,
            target="",
            filter=EventFilter(),
            secret=None,
            created_by=None,
        ),
        "beginning",
        EVERYONE,
    )


def told(store: Store) -> list[tuple[str, str]]:
    """What every subscription is told now, in order; its cursor moves behind it."""
    found: list[tuple[str, str]] = []
    for leased in lease(store):
        found += _told(store, leased)
    return found


def _told(store: Store, leased: LeasedSubscription) -> list[tuple[str, str]]:
    cursor, found = leased.cursor, []
    while True:
        page = notifications(store).page(leased, cursor, scan=10, limit=10)
        found += [(one.content.event.task_id, one.content.event.to_status) for one in page.due]
        cursor = page.end.cursor
        if not page.is_full:
            notifications(store).advance(leased, Passed(cursor, None), LEASE, ends=True)
            return found


def read(store: Store, cursor: str | None) -> tuple[list[tuple[str, str]], str]:
    """What a reader with a cursor of its own is told."""
    found: list[tuple[str, str]] = []
    while True:
        page = store.tasks.events_after(cursor, 7, EVERYONE)
        if not page.events:
            return found, page.cursor
        found += [(event.task_id, event.to_status) for event in page.events]
        cursor = page.cursor


def whole(store: Store) -> list[tuple[str, str]]:
    rows = write(store, "SELECT task_id::text AS id, to_status FROM taskdb_event ORDER BY id")
    return [(row["id"], row["to_status"]) for row in rows]


def dump(server: PostgreSQL, url: str, *options: str) -> bytes:
    command = [str(server._binaries / "pg_dump"), *options, url.replace("+psycopg", "")]
    return subprocess.run(command, capture_output=True, check=True).stdout


def load(server: PostgreSQL, url: str, sql: bytes) -> None:
    command = [str(server._binaries / "psql"), "-q", "-v", "ON_ERROR_STOP=1"]
    command += ["-d", url.replace("+psycopg", "")]
    subprocess.run(command, input=sql, capture_output=True, check=True, env=dict(os.environ))


class Site:
    """A database in one cluster, and its restored copy in another."""

    def __init__(self, first: PostgreSQL, url: str, second: PostgreSQL) -> None:
        self.first, self.url, self.second = first, url, second
        self.cursor = ""
        with Store(url).closing() as store:
            write(store, "SELECT 1")
            with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute(SPEND)
            subscribe(store)
            for _ in range(3):
                fail(store)
            assert counted(store) == 3
            assert len(told(store)) == 9
            read_before, self.cursor = read(store, None)
            assert len(read_before) == 9
            self.before = whole(store)

    def restore(self, *options: str) -> str:
        url = self.second.create_database(f"restored_{next(_numbers)}")
        load(self.second, url, dump(self.first, self.url, *options))
        return url


@pytest.fixture(scope="module")
def second_cluster() -> Iterator[PostgreSQL]:
    """Another server: its transactions are counted from the beginning."""
    with closing(PostgreSQL()) as server:
        server.start()
        yield server


@pytest.fixture
def site(postgresql_server: PostgreSQL, postgresql_url: str, second_cluster: PostgreSQL) -> Site:
    return Site(postgresql_server, postgresql_url, second_cluster)


@pytest.fixture
def restored(site: Site) -> Iterator[Store]:
    with Store(site.restore()).closing() as store:
        yield store


def test_failures_after_a_restore_raise_alarms_and_are_told_once(
    site: Site, restored: Store
) -> None:
    assert (counted(restored), told(restored)) == (0, [])
    failed = fail(restored)
    assert counted(restored) == 1
    assert told(restored) == [(failed, "CREATED"), (failed, "STARTED"), (failed, "FAILED")]
    assert (counted(restored), told(restored)) == (0, [])


def test_a_reader_goes_on_after_a_restore_and_a_new_one_reads_everything_in_order(
    site: Site, restored: Store
) -> None:
    new = create(restored)
    assert read(restored, site.cursor)[0] == [(new, "CREATED")]
    assert read(restored, None)[0] == [*site.before, (new, "CREATED")]
    subscribe(restored, "late")
    assert (
        told(restored) == [(new, "CREATED"), *site.before, (new, "CREATED")] or told(restored) == []
    )


def test_what_was_written_before_the_restore_was_noticed_is_told_once_and_last(site: Site) -> None:
    url = site.restore()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for status in ("CREATED", "FAILED"):
            connection.execute(
                "WITH new AS (INSERT INTO taskdb_task (type) VALUES ('plain')"
                " ON CONFLICT DO NOTHING RETURNING id) INSERT INTO taskdb_event (task_id,"
                " to_status, from_status) SELECT id, %s, %s FROM new",
                [status, "CREATED" if status == "FAILED" else None],
            )
    with Store(url).closing() as store:
        late = [
            row["id"]
            for row in write(store, "SELECT id::text FROM taskdb_task WHERE type = 'plain'")
        ]
        assert counted(store) == 1
        assert {one for one, _ in told(store)} == set(late)
        assert {one for one, _ in read(store, site.cursor)[0]} == set(late)
        assert read(store, None)[0][:9] == site.before
        assert (counted(store), told(store), len(read(store, None)[0])) == (0, [], 11)


def test_late_events_are_found_when_the_counter_has_passed_the_restored_ones(site: Site) -> None:
    """It was behind them when the first was written, and before a process looked."""
    url = site.restore()
    plain = url.replace("+psycopg", "")
    event = "INSERT INTO taskdb_event (task_id, to_status) VALUES (gen_random_uuid(), 'CREATED')"
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(event)
        connection.execute(SPEND.replace(str(SPENT), str(2 * SPENT)))
        connection.execute(event)
        ids = [row[0] for row in connection.execute("SELECT id FROM taskdb_event ORDER BY id")]
    with Store(url).closing() as store:
        page = store.tasks.events_after(None, 100, EVERYONE)
        assert sorted(one.id for one in page.events) == ids
        late = store.tasks.events_after(site.cursor, 100, EVERYONE)
        assert sorted(one.id for one in late.events) == ids[9:]
        assert len(told(store)) == 0, "they are of no task"


def test_a_transaction_that_holds_the_history_delays_readers_and_loses_nothing(site: Site) -> None:
    url = site.restore()
    plain = url.replace("+psycopg", "")
    with Store(url).closing() as store:
        with psycopg.connect(plain) as caller:
            caller.execute("SELECT count(*) FROM taskdb_event")
            caller.execute(
                "INSERT INTO taskdb_event (task_id, to_status)"
                " VALUES (gen_random_uuid(), 'CREATED')"
            )
            failed = fail(store)
            assert (counted(store), told(store)) == (0, [])
            assert not settle(store.database)
            caller.commit()
        assert settle(store.database)
        assert counted(store) == 1
        assert (failed, "FAILED") in told(store)
        after, _ = read(store, site.cursor)
        assert sorted(after) == sorted(whole(store)[9:])


def test_a_process_that_was_open_meanwhile_goes_on_reading(site: Site, restored: Store) -> None:
    """Its server was replaced behind its back: it opened long ago, and nothing tells it."""
    create(restored)
    told(restored)
    counted(restored)
    write(restored, "UPDATE taskdb_event SET xid = xid + 1000000000000000")
    write(restored, "UPDATE taskdb_subscription SET cursor_xid = cursor_xid + 1000000000000000")
    write(
        restored,
        "UPDATE taskdb_alarm_cursor SET xid = xid + 1000000000000000, moved_at = clock_timestamp()",
    )
    failed = fail(restored)
    assert counted(restored) == 1
    assert told(restored) == [(failed, "CREATED"), (failed, "STARTED"), (failed, "FAILED")]


def test_a_restore_without_the_history_raises_alarms(site: Site) -> None:
    url = site.restore("--exclude-table-data=taskdb_event_2*")
    with Store(url).closing() as store:
        assert whole(store) == []
        fail(store)
        assert (counted(store), len(told(store))) == (1, 3)


def test_rows_that_came_without_their_sequence_stand_before_new_ones(site: Site) -> None:
    """As those of a logical replica do."""
    url = site.restore()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("ALTER TABLE taskdb_event ALTER COLUMN id RESTART WITH 1")
    with Store(url).closing() as store:
        new = create(store)
        assert whole(store) == [*site.before, (new, "CREATED")]


def test_a_cursor_of_a_time_that_a_restore_took_back_is_told_of_what_comes(
    postgresql_store: Store,
) -> None:
    """A restore to an older point keeps the cluster and begins a new timeline."""
    store = postgresql_store
    first = create(store)
    _, cursor = read(store, None)
    at = EventCursor.parse(cursor)
    lost = EventCursor(at.xid + 1_000_000, at.id + 1_000_000)
    write(store, "UPDATE taskdb_history_cluster SET identity = 'one/00000001'")
    assert settle(store.database)
    second = create(store)
    assert read(store, str(lost))[0] == [(second, "CREATED")]
    assert read(store, None)[0] == [(first, "CREATED"), (second, "CREATED")]


def test_a_second_restore_stands_behind_the_first(postgresql_store: Store) -> None:
    store = postgresql_store
    shifts = []
    made = []
    for number in range(3):
        write(store, f"UPDATE taskdb_history_cluster SET identity = 'cluster {number}'")
        assert settle(store.database)
        made.append(create(store))
        (row,) = write(store, "SELECT shift FROM taskdb_history_cluster")
        shifts.append(row["shift"])
    assert shifts[0] < shifts[1] < shifts[2] < 4 * LEAP
    assert [one for one, _ in read(store, None)[0]] == made


def test_the_cluster_is_known_after_the_migration_and_nothing_is_shifted(
    postgresql_store: Store, postgresql_url: str
) -> None:
    migrate(postgresql_url)
    create(postgresql_store)
    assert settle(postgresql_store.database)
    (row,) = write(
        postgresql_store, "SELECT identity, shift, left_shift FROM taskdb_history_cluster"
    )
    assert row["identity"].endswith("/00000001")
    assert (row["shift"], row["left_shift"]) == (0, None)


def test_figures_go_on_after_a_restore(site: Site, restored: Store) -> None:
    tally = StoreUpkeep(restored).statistics("me", timedelta(minutes=1))
    cursor = tally.begin()
    assert cursor is not None
    fail(restored)
    assert tally.read(cursor, 100, by_tenant=False).events == 3
    assert StoreUpkeep(restored).counts.subscriptions().lag_seconds >= 0


def test_a_role_that_may_only_write_rows_works_and_an_owner_shifts(site: Site) -> None:
    url = site.restore()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute("CREATE ROLE worker_only LOGIN")
        owner.execute(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO worker_only"
        )
    with Store(url.replace("postgres@", "worker_only@")).closing() as store:
        failed = fail(store)
    migrate(url)
    with Store(url.replace("postgres@", "worker_only@")).closing() as store:
        assert counted(store) == 1
        assert (failed, "FAILED") in told(store)


def test_a_history_whose_cluster_was_deleted_keeps_its_order(postgresql_store: Store) -> None:
    subscribe(postgresql_store)
    write(postgresql_store, "UPDATE taskdb_history_cluster SET identity = '1/00000001'")
    assert settle(postgresql_store.database)
    (kept,) = write(postgresql_store, "SELECT shift FROM taskdb_history_cluster")
    assert kept["shift"] >= LEAP
    first = fail(postgresql_store)
    assert first in {task_id for task_id, _ in told(postgresql_store)}
    write(postgresql_store, "DELETE FROM taskdb_history_cluster")
    second = fail(postgresql_store)
    assert {task_id for task_id, _ in told(postgresql_store)} == {second}
    (found,) = write(postgresql_store, "SELECT shift FROM taskdb_history_cluster")
    assert found["shift"] == kept["shift"]
