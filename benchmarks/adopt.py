"""What it costs an app to be tracked: a worker that drains a queue, and a program that calls.

    python -m benchmarks adopt

PostgreSQL and Redis, prefork with 2 processes. A tracked and an untracked worker by turns; the
median of the ratios of their speeds, for tasks that do nothing and for tasks of 5 ms. The same for
the time of a call.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import redis

from benchmarks.servers import Servers, servers
from benchmarks.worker_process import seconds_to_drain, worker

PAIRS = int(os.environ.get("BENCH_PAIRS", "3"))
PROCESSES = 2
APP = "benchmarks.adopted_app:app"
QUEUE = "adopted"
DATABASE = 1
KINDS = {"no-op": (0.0, 1_500), "5 ms": (5.0, 300)}
CALLS = """
import time
from benchmarks.adopted_app import work
order = {{"id": 4711, "to": "Ada", "lines": [1, 2, 3]}}
work.delay(order)
began = time.perf_counter()
for _ in range({count}):
    work.delay(order, {milliseconds})
print((time.perf_counter() - began) / {count} * 1e6)
"""


def main() -> None:
    """Measure and print."""
    with servers() as started:
        for kind, (milliseconds, count) in KINDS.items():
            pairs = [_pair(started, milliseconds, count) for _ in range(PAIRS)]
            drains = [tracked[0] / plain[0] for plain, tracked in pairs]
            calls = [tracked[1] / plain[1] for plain, tracked in pairs]
            for plain, tracked in pairs:
                print(
                    f"  {kind}: {tracked[0]:,.0f}/s of {plain[0]:,.0f}/s;"
                    f" a call {tracked[1]:,.0f} us of {plain[1]:,.0f} us"
                )
            speed, time = statistics.median(drains), statistics.median(calls)
            print(
                f"adopt, {kind}: {speed:.2f} x the speed of the untracked worker,"
                f" {time:.2f} x the time of a call (median of {PAIRS})"
            )
        _assert_written(started)


def _pair(
    started: Servers, milliseconds: float, count: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    plain = _measured(started, milliseconds, count, {})
    return plain, _measured(started, milliseconds, count, {"BENCH_TRACK": "1"})


def _measured(
    started: Servers, milliseconds: float, count: int, extra: dict[str, str]
) -> tuple[float, float]:
    """Tasks a second of the worker, and microseconds of a call."""
    environment = {**started.environment, **extra}
    started.broker.flush(DATABASE)
    log = Path(tempfile.mkdtemp()) / "worker.log"
    with redis.Redis.from_url(started.broker.url_of(DATABASE)) as client:
        called = _called(environment, milliseconds, count)
        with worker(APP, environment, PROCESSES, log):
            seconds = seconds_to_drain(client, QUEUE, count + 1)
    return (count + 1) / seconds, called


def _called(environment: dict[str, str], milliseconds: float, count: int) -> float:
    program = CALLS.format(count=count, milliseconds=milliseconds)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _assert_written(started: Servers) -> None:
    """Nothing was dropped to be fast."""
    expected = sum(PAIRS * (count + 1) for _, count in KINDS.values())
    url = started.url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM taskdb_task WHERE is_adopted AND status = 'COMPLETED'"
        ).fetchone()
    found = int(row[0]) if row else 0
    print(f"  {found:,} of {expected:,} tasks have a row that is COMPLETED")


if __name__ == "__main__":
    main()
