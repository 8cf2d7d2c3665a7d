"""How fast a worker drains what a limit holds, as a share of its speed without one.

    python -m benchmarks limit

PostgreSQL and Redis, prefork with 4 processes and the release loop of a beat, 5,000 no-op tasks,
100 of them let go at a time; pairs in alternation, the median of the ratios, from the first body's
begin to the last one's end. Goal: at least 0.7 x the drain without a limit.
"""

import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.drain import MESSAGES, PAIRS, PROCESSES
from benchmarks.servers import Servers, servers
from benchmarks.worker_process import worker
from taskdb import Settings, TaskDB
from taskdb_beat.loops.loop import Loop
from taskdb_beat.loops.release import Release

LIMIT = 100
GOAL_RATIO = 0.7
_LOOK_SECONDS = 0.1
_TYPE = "bench.noop"


def main() -> None:
    """Measure and print."""
    with servers() as started:
        log = Path(tempfile.mkdtemp()) / "worker.log"
        ratios = []
        with TaskDB(Settings.load(started.environment)) as taskdb:
            for pair in range(PAIRS):
                _empty(started)
                free = _rate(taskdb, started, log)
                _empty(started)
                with _limited(taskdb):
                    limited = _rate(taskdb, started, log)
                ratios.append(limited / free)
                print(
                    f"pair {pair + 1}: {limited:,.0f}/s of {free:,.0f}/s = {limited / free:.2f}",
                    flush=True,
                )
        median = statistics.median(ratios)
        print(f"limit: {median:.2f} x without a limit (median of {PAIRS}; goal {GOAL_RATIO})")


@contextmanager
def _limited(taskdb: TaskDB) -> Iterator[None]:
    release = Release(taskdb.settings, taskdb.store, taskdb.publisher)
    loop = Loop("release", release.run_once, taskdb.settings.release_interval_seconds)
    taskdb.limits.set(type=_TYPE, max_running=LIMIT)
    loop.start()
    try:
        yield
    finally:
        loop.stop(10)
        taskdb.limits.clear(type=_TYPE)


def _empty(started: Servers) -> None:
    """Forget all tasks and messages, before anything looks at them."""
    started.broker.flush(0)
    with _connected(started) as connection:
        connection.execute("TRUNCATE taskdb_task, taskdb_event, taskdb_slot")


def _connected(started: Servers) -> psycopg.Connection[Any]:
    plain = started.url.replace("postgresql+psycopg://", "postgresql://")
    return psycopg.connect(plain, autocommit=True)


def _rate(taskdb: TaskDB, started: Servers, log: Path) -> float:
    """Tasks a second, by the moments in the rows."""
    with _connected(started) as connection:
        taskdb.submit_many(_TYPE, [None] * MESSAGES)
        pause = threading.Event()
        with worker("taskdb_worker.app", started.environment, PROCESSES, log):
            while True:
                row = connection.execute(
                    "SELECT count(*), extract(epoch FROM max(ended_at) - min(started_at))"
                    " FROM taskdb_task WHERE status = 'COMPLETED'"
                ).fetchone()
                if row is not None and row[0] == MESSAGES:
                    return MESSAGES / float(row[1])
                pause.wait(_LOOK_SECONDS)


if __name__ == "__main__":
    main()
