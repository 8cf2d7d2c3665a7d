"""How much a pool process grows between its 10,000th and its 50,000th task.

    python -m benchmarks memory

One prefork process that is never replaced, PostgreSQL and Redis. Goal: less than 5 MiB.
"""

import os
import tempfile
import time
from pathlib import Path

import psutil
import redis

from benchmarks.servers import Servers, servers
from benchmarks.worker_process import waiting, worker
from taskdb import Settings, TaskDB

FIRST = int(os.environ.get("BENCH_MEMORY_FIRST", "10000"))
LAST = int(os.environ.get("BENCH_MEMORY_LAST", "50000"))
GOAL_MIB = 5
MIB = 1024 * 1024


def main() -> None:
    """Measure and print."""
    with servers() as started:
        _measure(started)


def _measure(started: Servers) -> None:
    environment = started.environment
    with TaskDB(Settings.load(environment)) as taskdb:
        taskdb.submit_many("bench.noop", [None] * LAST)
    log = Path(tempfile.mkdtemp()) / "worker.log"
    with (
        redis.Redis.from_url(started.broker.url_of(0)) as client,
        worker("taskdb_worker.app", environment, 1, log) as process,
    ):
        first = _resident_when(client, process.pid, LAST - FIRST)
        last = _resident_when(client, process.pid, 0)
    grown = (last - first) / MIB
    print(
        f"memory: {first / MIB:.1f} MiB after {FIRST:,} tasks, {last / MIB:.1f} MiB after"
        f" {LAST:,}: {grown:+.2f} MiB (goal below {GOAL_MIB})"
    )


def _resident_when(client: "redis.Redis[bytes]", pid: int, left: int) -> int:
    """Resident bytes of the pool process once so few messages are left."""
    while waiting(client, "taskdb") > left:
        time.sleep(0.05)
    children = psutil.Process(pid).children()
    return max(int(child.memory_info().rss) for child in children)


if __name__ == "__main__":
    main()
