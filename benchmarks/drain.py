"""How fast a worker drains a full queue, as a share of bare Celery's speed; and its round trips.

    python -m benchmarks drain

PostgreSQL and Redis, prefork with 4 processes, 5,000 no-op tasks queued beforehand, pairs in
alternation, the median of the ratios. Goals: at least 0.65 x bare Celery with results off; at
most 2 statements a task in the worker. The processor time of a task holds also where other
programs use the machine: that of the worker, and that of PostgreSQL.
"""

import os
import statistics
import tempfile
from pathlib import Path

import psycopg
import redis

from benchmarks.bench_tasks import bare, bare_noop
from benchmarks.processor import postmaster, processor_seconds
from benchmarks.servers import Servers, servers
from benchmarks.worker_process import seconds_to_drain, worker
from taskdb import Settings, TaskDB

MESSAGES = int(os.environ.get("BENCH_MESSAGES", "5000"))
PAIRS = int(os.environ.get("BENCH_PAIRS", "5"))
PROCESSES = 4
GOAL_RATIO = 0.65
GOAL_STATEMENTS = 2


def main() -> None:
    """Measure and print."""
    with servers() as started:
        _measure(started)


def _measure(started: Servers) -> None:
    log = Path(tempfile.mkdtemp()) / "worker.log"
    ratios = []
    with TaskDB(Settings.load(started.environment)) as taskdb:
        for pair in range(PAIRS):
            ours = _tracked(taskdb, started, log)
            theirs = _bare(started, log)
            ratios.append(ours / theirs)
            print(f"pair {pair + 1}: {ours:,.0f}/s of {theirs:,.0f}/s = {ours / theirs:.2f}")
    median = statistics.median(ratios)
    print(f"drain: {median:.2f} x bare Celery (median of {PAIRS}; goal {GOAL_RATIO})")


def _tracked(taskdb: TaskDB, started: Servers, log: Path) -> float:
    broker, url = started.broker, started.url
    broker.flush(0)
    taskdb.submit_many("bench.noop", [None] * MESSAGES)
    before = _statements(url)
    with (
        redis.Redis.from_url(broker.url_of(0)) as client,
        worker("taskdb_worker.app", started.environment, PROCESSES, log) as process,
    ):
        server = postmaster(url)
        spent = processor_seconds(server)
        rate = MESSAGES / seconds_to_drain(client, "taskdb", MESSAGES)
        _print_processor_time(
            worker=processor_seconds(process.pid), postgresql=processor_seconds(server) - spent
        )
    done = len(taskdb.list_tasks(status="COMPLETED", limit=1)) and _completed(url)
    statements = (_statements(url) - before) / MESSAGES
    print(f"  {statements:.2f} transactions a task (goal {GOAL_STATEMENTS}), {done:,} completed")
    return rate


def _bare(started: Servers, log: Path) -> float:
    broker, environment = started.broker, started.environment
    broker.flush(1)
    bare.conf.broker_url = environment["BENCH_BROKER_URL"]
    with bare.producer_or_acquire() as producer, producer.batch():
        for _ in range(MESSAGES):
            bare_noop.apply_async(producer=producer)
    with (
        redis.Redis.from_url(broker.url_of(1)) as client,
        worker("benchmarks.bench_tasks:bare", environment, PROCESSES, log) as process,
    ):
        rate = MESSAGES / seconds_to_drain(client, "bare", MESSAGES)
        _print_processor_time(bare=processor_seconds(process.pid))
        return rate


def _print_processor_time(**seconds: float) -> None:
    """The start of a worker is in it: about a second."""
    spent = ", ".join(f"{who} {s / MESSAGES * 1000:.2f} ms" for who, s in seconds.items())
    print(f"  processor time a task: {spent}")


def _statements(url: str) -> int:
    """Transactions so far; each of the worker's statements is one by itself."""
    with psycopg.connect(_plain(url), autocommit=True) as connection:
        connection.execute("SELECT pg_stat_clear_snapshot()")
        row = connection.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
        return int(row[0]) if row else 0


def _completed(url: str) -> int:
    with psycopg.connect(_plain(url), autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM taskdb_task WHERE status = 'COMPLETED'"
        ).fetchone()
        return int(row[0]) if row else 0


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


if __name__ == "__main__":
    main()
