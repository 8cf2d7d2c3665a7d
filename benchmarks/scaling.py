"""What a site costs: rows in, tasks out, connections, bytes, pruning.

    python -m benchmarks scaling

PostgreSQL, Redis and workers on this machine. There are no goals: the figures of `docs/scaling.md`.
"""

import os
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import redis

from benchmarks.servers import Servers, servers
from benchmarks.worker_process import seconds_to_drain, worker
from taskdb import Settings, TaskDB
from taskdb.client.caller.caller import Caller
from taskdb.client.submission.chosen_options import ChosenOptions
from taskdb.client.submission.drafting import Drafting
from taskdb.model.retention import Retention
from taskdb.store.contract import EVERYONE
from taskdb.store.upkeep import StoreUpkeep

ROWS = int(os.environ.get("BENCH_ROWS", "20000"))
MESSAGES = int(os.environ.get("BENCH_MESSAGES", "4000"))
PROCESSES = (1, 2, 4)


def main() -> None:
    """Measure and print."""
    with servers() as started, TaskDB(Settings.load(started.environment)) as taskdb:
        _rows_in(taskdb)
        _empty(started)
        for processes in PROCESSES:
            _tasks_out(taskdb, started, processes)
        _bytes(started)
        _prune(taskdb, started)


def _rows_in(taskdb: TaskDB) -> None:
    """Threads that insert rows in batches of a thousand, and one by one."""
    drafting = Drafting(taskdb.settings, taskdb.types, taskdb.store.payloads, Caller())
    drafts = drafting.drafts("bench.noop", [None] * ROWS, ChosenOptions())
    began = time.perf_counter()
    taskdb.store.submissions.create(drafts, EVERYONE)
    print(f"insert, in bulk: {ROWS / (time.perf_counter() - began):,.0f} rows a second")
    for threads in (1, 4):
        count = ROWS // 20
        lists = [
            drafting.drafts("bench.noop", [None] * (count // threads), ChosenOptions())
            for _ in range(threads)
        ]
        seconds = _at_once([lambda some=some: _one_by_one(taskdb, some) for some in lists])  # type: ignore[misc]
        print(f"insert, one by one, {threads} threads: {count / seconds:,.0f} rows a second")


def _one_by_one(taskdb: TaskDB, drafts: list) -> None:  # type: ignore[type-arg]
    for draft in drafts:
        taskdb.store.submissions.create([draft], EVERYONE)


def _at_once(works: list) -> float:  # type: ignore[type-arg]
    began = time.perf_counter()
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _empty(started: Servers) -> None:
    with _connected(started) as connection:
        connection.execute("TRUNCATE taskdb_task, taskdb_event")


def _tasks_out(taskdb: TaskDB, started: Servers, processes: int) -> None:
    """A queue of no-ops, drained by one worker; its connections are counted meanwhile."""
    log = Path(tempfile.mkdtemp()) / "worker.log"
    started.broker.flush(0)
    taskdb.submit_many("bench.noop", [None] * MESSAGES)
    mine = _connections(started)
    most = 0
    over = threading.Event()

    def count() -> None:
        nonlocal most
        while not over.wait(0.1):
            most = max(most, _connections(started) - mine)

    watching = threading.Thread(target=count)
    watching.start()
    with (
        redis.Redis.from_url(started.broker.url_of(0)) as client,
        worker("taskdb_worker.app", started.environment, processes, log),
    ):
        seconds = seconds_to_drain(client, "taskdb", MESSAGES)
    over.set()
    watching.join()
    rate = MESSAGES / seconds
    print(f"drain, {processes} processes: {rate:,.0f} tasks a second, {most} connections")


def _connections(started: Servers) -> int:
    with _connected(started) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'bench'"
            " AND pid <> pg_backend_pid()"
        ).fetchone()
    return int(row[0]) if row else 0


def _bytes(started: Servers) -> None:
    """What a task leaves on the disk that ran once and completed."""
    with _connected(started) as connection:
        connection.execute("VACUUM ANALYZE taskdb_task")
        connection.execute("VACUUM ANALYZE taskdb_event")
        sizes = connection.execute(
            "SELECT (SELECT count(*) FROM taskdb_task), pg_relation_size('taskdb_task'),"
            " pg_indexes_size('taskdb_task'), (SELECT count(*) FROM taskdb_event),"
            " (SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('taskdb_event')),"
            " (SELECT sum(pg_indexes_size(relid)) FROM pg_partition_tree('taskdb_event'))"
        ).fetchone()
        hot = connection.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'taskdb_task'"
        ).fetchone()
    assert sizes is not None
    assert hot is not None
    tasks, table, indexes, events, history, history_indexes = map(int, sizes)
    print(
        f"bytes a task: {table / tasks:,.0f} in its table and {indexes / tasks:,.0f} in indexes;"
        f" history {history / tasks:,.0f} and {history_indexes / tasks:,.0f}"
        f" ({events / tasks:.1f} events)"
    )
    print(f"updates: {hot[0] / tasks:.1f} a task, {hot[1] / max(hot[0], 1):.0%} of them HOT")


def _prune(taskdb: TaskDB, started: Servers) -> None:
    with _connected(started) as connection:
        connection.execute("UPDATE taskdb_task SET ended_at = now() - interval '40 days'")
        connection.execute("UPDATE taskdb_task SET created_at = now() - interval '41 days'")
        connection.execute("VACUUM ANALYZE taskdb_task")
    rules = Retention.parse([{"keep": f"{timedelta(days=1).days}d"}])
    pruning = StoreUpkeep(taskdb.store).prune_rounds(rules)
    began = time.perf_counter()
    tasks = 0
    while not pruning.is_round_over or not tasks:
        tasks += pruning.run(5).tasks
    seconds = time.perf_counter() - began
    print(f"prune: {tasks / seconds:,.0f} tasks a second with their history ({tasks:,} tasks)")


def _connected(started: Servers) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(started.url.replace("+psycopg", ""), autocommit=True)


if __name__ == "__main__":
    main()
