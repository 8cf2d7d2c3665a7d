"""What the figures for Prometheus cost a database of a million tasks.

    python -m benchmarks figures

Most of them are over; then a tenth of a million waits. Goal: well under a second each.
"""

import logging
import os
import time
from collections.abc import Callable
from datetime import timedelta

import psycopg
import structlog

from benchmarks.servers import servers
from taskdb.settings.settings import Settings
from taskdb.store.store import Store
from taskdb.store.upkeep import StoreUpkeep
from taskdb_beat.observation.disk_gauge import DiskGauge
from taskdb_beat.observation.families import Families
from taskdb_beat.observation.health import Health
from taskdb_beat.observation.metrics_page import metrics_page
from taskdb_beat.observation.reporter import Reporter

ROWS = int(os.environ.get("BENCH_ROWS_THERE", "1000000"))
OPEN = int(os.environ.get("BENCH_ROWS_OPEN", "100000"))
EVENTS = 5_000
GOAL_SECONDS = 1.0


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with (
        servers() as started,
        psycopg.connect(started.url.replace("+psycopg", ""), autocommit=True) as connection,
        Store(started.url).closing() as store,
    ):
        _fill(connection, ROWS, "COMPLETED")
        _fill(connection, 1_000, "QUEUED")
        connection.execute("VACUUM ANALYZE taskdb_task")
        print(f"{ROWS:,} tasks are over, 1,000 wait")
        _census(store)
        _tally(store, connection)
        _pass(store)
        _fill(connection, OPEN, "QUEUED")
        connection.execute("VACUUM ANALYZE taskdb_task")
        print(f"{ROWS:,} tasks are over, {OPEN:,} wait")
        _census(store)
        _pass(store)


def _census(store: Store) -> None:
    census = StoreUpkeep(store).counts
    seconds = _median(lambda: census.tasks(by_tenant=True))
    print(f"census: {seconds * 1000:,.0f} ms (goal below {GOAL_SECONDS:g} s)")


def _tally(store: Store, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    reader = StoreUpkeep(store).statistics("bench", timedelta(minutes=1))
    cursor = reader.begin()
    assert cursor is not None
    connection.execute(
        "INSERT INTO taskdb_event (task_id, from_status, to_status, attempt, worker)"
        " SELECT id, 'QUEUED', 'STARTED', 1, 'w' FROM taskdb_task LIMIT %s",
        [EVENTS],
    )
    connection.execute("VACUUM ANALYZE taskdb_event")
    seconds = _median(lambda: reader.read(cursor, EVENTS, by_tenant=True))
    print(f"tally of {EVENTS:,} events: {seconds * 1000:,.0f} ms")


def _pass(store: Store) -> None:
    """All that is read for the figures, and then a scrape, which reads memory alone."""
    settings = Settings(database_url=store.database.url, metrics_tenants=True)
    reporter = Reporter(settings, store, "bench")

    def read() -> None:
        nonlocal reporter
        reporter = Reporter(settings, store, "bench")
        reporter.run_once()

    seconds = _median(read)
    print(f"a pass over the rows: {seconds * 1000:,.0f} ms (goal below {GOAL_SECONDS:g} s)")
    page = metrics_page(
        Families(
            reporter=reporter,
            loops=(),
            health=Health((), lambda: True),
            probes={},
            database=store.database,
            disk_gauge=DiskGauge(settings),
            tenants=True,
        )
    )
    size = len(page("").body)
    seconds = _median(lambda: page(""))
    print(f"a scrape ({size / 1000:,.0f} kB): {seconds * 1000:,.0f} ms")


def _median(work: Callable[[], object]) -> float:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return sorted(took)[2]


def _fill(connection: "psycopg.Connection[tuple[object, ...]]", rows: int, status: str) -> None:
    """Rows as a site has them; the indexes are made afterwards, which is quicker."""
    indexes = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'taskdb_task'"
        " AND indexname <> 'taskdb_task_pkey'"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f'DROP INDEX "{name}"')
    connection.execute(
        "INSERT INTO taskdb_task (type, queue, tenant, status, input, attempt, created_at,"
        " queued_at, started_at, ended_at) SELECT 'type-' || n %% 40, 'queue-' || n %% 5,"
        " 'tenant-' || n %% 200, %s, '{\"a\": 1}', 1, now() - n * interval '1 second',"
        " now() - interval '1 minute', now(), now() FROM generate_series(1, %s) AS n",
        [status, rows],
    )
    for _, definition in indexes:
        connection.execute(str(definition))


if __name__ == "__main__":
    main()
