"""What the doctor sees of the server, provoked on a real one: vacuum, partitions, the clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from taskdb.store.doctor import server_drift
from taskdb.store.doctor.finding import Drift, Limits
from taskdb.store.doctor.server_drift import ServerDrifts, measure_skew
from taskdb.store.store import Store
from tests.servers import PostgreSQL
from tests.store.task.test_situation import worker
from tests.store.tasks import LEASE, create, write
from tests.waiting import wait_until

AT_ONCE = Limits(transaction=timedelta(0))


def drifts(store: Store, **limits: Any) -> dict[str, Drift]:
    return {one.name: one for one in store.doctor.drifts(lease=LEASE, limits=Limits(**limits))}


@contextmanager
def open_transaction(store: Store, *statements: str) -> Iterator[int]:
    """A session that has said these statements and stands in its transaction; its process id."""
    url = store.database.url.replace("+psycopg", "")
    with psycopg.connect(url, application_name="nightly report") as connection:
        for statement in statements:
            connection.execute(statement)
        yield connection.info.backend_pid
        connection.rollback()


# --- beats ----------------------------------------------------------------------------------------


def test_a_beat_is_missing_where_a_task_waits_and_none_lives(store: Store) -> None:
    assert "beat_missing" not in drifts(store)
    task_id = create(store)
    assert drifts(store)["beat_missing"].examples == (f"task {task_id}",)
    beats = store.beats
    beats.renew("host/1", LEASE)
    assert "beat_missing" not in drifts(store)
    beats.leave("host/1")
    assert "beat_missing" in drifts(store)


def test_an_app_that_is_only_watched_needs_no_beat(store: Store) -> None:
    worker(store, queues=(), types=())
    task_id = create(store)
    write(store, "UPDATE taskdb_task SET is_adopted = true WHERE id = :id", id=task_id)
    assert "beat_missing" not in drifts(store)
    worker(store, "w-2")
    assert drifts(store)["beat_missing"].examples[0].startswith("worker ")


def test_a_beat_that_was_killed_is_missing_when_its_lease_is_over(store: Store) -> None:
    create(store)
    beats = store.beats
    beats.renew("killed", timedelta(seconds=-1))
    beats.renew("lives", LEASE)
    assert beats.live() == ["lives"]
    assert "beat_missing" not in drifts(store)
    beats.leave("lives")
    assert "beat_missing" in drifts(store)
    beats.renew("killed", -timedelta(days=2))
    beats.forget_dead()
    assert write(store, "SELECT name FROM taskdb_reporter") == []


# --- partitions -----------------------------------------------------------------------------------


def test_rows_in_the_default_partition_are_counted_by_day(postgresql_store: Store) -> None:
    store = postgresql_store
    create(store)
    assert "default_partition" not in drifts(store)
    for day in ("2099-01-01", "2099-01-01", "2098-05-05"):
        write(
            store,
            "INSERT INTO taskdb_event (task_id, to_status, at)"
            f" SELECT id, status, TIMESTAMPTZ '{day} 12:00Z' FROM taskdb_task",
        )
    found = drifts(store)["default_partition"]
    assert (found.count, found.examples) == (3, ("2098-05-05: 1", "2099-01-01: 2"))


# --- what holds vacuum back -----------------------------------------------------------------------


def test_an_open_transaction_is_named_without_its_statement(postgresql_store: Store) -> None:
    store = postgresql_store
    create(store)
    assert "vacuum_held_back" not in drifts(store, transaction=timedelta(0))
    secret = "UPDATE taskdb_task SET tenant = 'hunter2'"
    with open_transaction(store, secret) as pid:
        assert "vacuum_held_back" not in drifts(store)
        (said,) = drifts(store, transaction=timedelta(0))["vacuum_held_back"].examples
    assert said.startswith(f"session {pid} (nightly report, idle in transaction): ")
    assert "hunter2" not in said


def test_a_snapshot_without_a_write_holds_vacuum_back_and_an_idle_one_does_not(
    postgresql_store: Store,
) -> None:
    store = postgresql_store
    snapshot = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1")
    with open_transaction(store, *snapshot):
        assert "vacuum_held_back" in drifts(store, transaction=timedelta(0))
    with open_transaction(store, "SELECT 1"):
        assert "vacuum_held_back" not in drifts(store, transaction=timedelta(0))


def test_a_session_that_the_role_may_not_see_is_named_by_its_number(
    postgresql_store: Store,
) -> None:
    store = postgresql_store
    with open_transaction(store, "SELECT pg_current_xact_id()") as pid:
        write(store, "CREATE ROLE plain_role LOGIN")
        write(store, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain_role")
        try:
            plain = Store(store.database.url.replace("postgres@", "plain_role@"))
            with plain.closing():
                (said,) = drifts(plain, transactions_behind=0)["vacuum_held_back"].examples
        finally:
            write(store, "DROP OWNED BY plain_role")
            write(store, "DROP ROLE plain_role")
    assert str(pid) in said
    assert "pg_read_all_stats" in said


def test_prepared_transactions_and_slots_without_a_reader_are_named(
    own_postgresql: PostgreSQL,
) -> None:
    for name, value in (("max_prepared_transactions", "5"), ("wal_level", "logical")):
        own_postgresql.configure(name, value)
    own_postgresql.stop()
    own_postgresql.start()
    with Store(own_postgresql.url).closing() as store:
        write(store, "SELECT pg_create_logical_replication_slot('left_behind', 'pgoutput')")
        with own_postgresql.unhindered("postgres") as connection:
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE half_done (id INTEGER)")
            connection.execute("PREPARE TRANSACTION 'half'")
        said = drifts(store, transaction=timedelta(0))["vacuum_held_back"].examples
        write(store, "SELECT pg_drop_replication_slot('left_behind')")
    assert [one.split(":")[0] for one in said] == [
        "prepared transaction half (-, prepared)",
        "replication slot left_behind (pgoutput, inactive)",
    ]


# --- dead rows and autovacuum ---------------------------------------------------------------------


def test_a_table_that_is_largely_dead_rows_is_listed(postgresql_store: Store) -> None:
    store = postgresql_store
    write(store, "ALTER TABLE taskdb_task SET (autovacuum_enabled = false)")
    task_id = create(store)
    assert "dead_rows" not in drifts(store, dead_rows=0)
    for _ in range(20):
        write(store, "UPDATE taskdb_task SET priority = 6 WHERE id = :id", id=task_id)

    def listed() -> bool:
        found = drifts(store, dead_rows=0).get("dead_rows")
        return found is not None and any(one.startswith("taskdb_task: ") for one in found.examples)

    wait_until(listed)
    assert "dead_rows" not in drifts(store)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("autovacuum_enabled = false", "autovacuum_enabled=false"),
        ("autovacuum_enabled = off", "autovacuum_enabled=off"),
        ("autovacuum_vacuum_scale_factor = 0.9", "autovacuum_vacuum_scale_factor=0.9"),
        ("autovacuum_vacuum_cost_delay = 90", "autovacuum_vacuum_cost_delay=90"),
        ("autovacuum_vacuum_threshold = 5000000", "vacuum begins with 5,000,000 dead rows"),
    ],
)
def test_a_table_whose_autovacuum_is_off_or_too_slow_is_listed(
    postgresql_store: Store, option: str, said: str
) -> None:
    store = postgresql_store
    assert "autovacuum_unsuitable" not in drifts(store)
    write(store, f"ALTER TABLE taskdb_task SET ({option})")
    (found,) = drifts(store)["autovacuum_unsuitable"].examples
    assert found.startswith(f"taskdb_task: {said}")


def test_a_partition_of_the_history_counts_as_well(postgresql_store: Store) -> None:
    write(postgresql_store, "ALTER TABLE taskdb_event_default SET (autovacuum_enabled = false)")
    assert drifts(postgresql_store)["autovacuum_unsuitable"].examples == (
        "taskdb_event_default: autovacuum_enabled=false",
    )


def test_a_server_without_autovacuum_is_listed(own_postgresql: PostgreSQL) -> None:
    with Store(own_postgresql.url).closing() as store:
        assert "autovacuum_unsuitable" not in drifts(store)
        own_postgresql.configure("autovacuum", "off")
        own_postgresql.configure("autovacuum_naptime", "1h")
        wanted = {"autovacuum=off", "autovacuum_naptime=3600s"}

        def listed() -> bool:
            found = drifts(store).get("autovacuum_unsuitable")
            return found is not None and wanted == set(found.examples)

        wait_until(listed)


# --- the clock ------------------------------------------------------------------------------------


def test_a_clock_that_differs_from_the_databases_is_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ahead() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=90)

    skew = measure_skew(store.database, ahead)
    assert 90 - skew.error - 1 < skew.seconds < 90 + skew.error + 1
    assert "clock_skew" not in drifts(store)
    monkeypatch.setattr(server_drift, "host_now", ahead)
    (said,) = drifts(store)["clock_skew"].examples
    assert said.startswith(("+90.", "+89.9"))


def test_a_slow_way_to_the_database_is_no_wrong_clock(store: Store) -> None:
    turns = iter(range(100))

    def slow() -> datetime:
        """Each answer takes 10 s, and the way back most of it."""
        return datetime.now(UTC) - timedelta(seconds=10 * (next(turns) % 2 == 0))

    skew = measure_skew(store.database, slow)
    assert abs(skew.seconds) - skew.error < 1


def test_nothing_of_the_server_has_drifted_where_all_is_well(store: Store) -> None:
    store.partitions.create()
    server = ServerDrifts(store.database, store.beats, store.partitions, store.vacuum)
    assert list(server.found(AT_ONCE)) == []
