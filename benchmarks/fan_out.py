"""How long a fan-out takes from its submit to its end, as a share of the speed of Celery's chord.

    python -m benchmarks fan_out

PostgreSQL and Redis, prefork with 2 processes, no-op parts, both warmed up, pairs in alternation,
the median of the ratios. Celery's chord has its Redis result backend and parts that ignore their
results. Processor time is that of the worker and of the submitting process, and for ours also that
of PostgreSQL. Goals for 3,000 parts: at least 1.0 x Celery's chord with a message a part, 4 x with
100 parts a message; the history of each part is whole. And for 100,000 parts: submitting them takes
less than 200 MiB, and a part costs at most 1.3 x what it costs at 10,000.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from celery import chord

from benchmarks.bench_tasks import chorded, chorded_end, chorded_noop
from benchmarks.processor import postmaster, processor_seconds
from benchmarks.servers import servers
from benchmarks.worker_process import worker
from taskdb import Settings, TaskDB, TaskStatus

PARTS = int(os.environ.get("BENCH_PARTS", "3000"))
PAIRS = int(os.environ.get("BENCH_PAIRS", "5"))
MANY = int(os.environ.get("BENCH_MANY_PARTS", "100000"))
PROCESSES = 2
CHUNK = 100
WARM_UP = 300
GOALS = {1: 1.0, CHUNK: 4.0}
GOAL_MIB = 200
GOAL_COST = 1.3
_EVENTS_A_PART = 4


def main() -> None:
    """Measure and print."""
    with servers() as started:
        _measure_speed(started.environment)
        _measure_submits(started.environment)


def _measure_speed(environment: dict[str, str]) -> None:
    chorded.conf.broker_url = environment["BENCH_BROKER_URL"]
    chorded.conf.result_backend = environment["BENCH_RESULT_URL"]
    log = Path(tempfile.mkdtemp()) / "worker.log"
    ratios: dict[int, list[float]] = {chunk: [] for chunk in GOALS}
    with (
        TaskDB(Settings.load(environment)) as taskdb,
        worker("taskdb_worker.app", environment, PROCESSES, log) as our_worker,
        worker("benchmarks.bench_tasks:chorded", environment, PROCESSES, log) as their_worker,
    ):
        our_processes = our_worker.pid, postmaster(environment["TASKDB_DATABASE_URL"])
        _chord_seconds(WARM_UP)
        for chunk in GOALS:
            _fan_out_seconds(taskdb, WARM_UP, chunk)
        for pair in range(PAIRS):
            theirs, their_time = _timed(lambda: _chord_seconds(PARTS), their_worker.pid)
            for chunk, found in ratios.items():
                ours, our_time = _timed(
                    lambda chunk=chunk: _fan_out_seconds(taskdb, PARTS, chunk), *our_processes
                )
                found.append(theirs / ours)
                print(
                    f"pair {pair + 1}, chunks of {chunk}: {ours:.2f} s, Celery's chord"
                    f" {theirs:.2f} s = {theirs / ours:.2f};"
                    f" processor time {our_time:.2f} s, {their_time:.2f} s"
                )
    for chunk, found in ratios.items():
        median = statistics.median(found)
        print(
            f"fan-out of {PARTS:,}, {chunk} a message: {median:.2f} x Celery's chord"
            f" (median of {PAIRS}; goal {GOALS[chunk]})"
        )
    print(f"  {_events_a_part(environment):.2f} events a part in the history")


def _timed(act: Callable[[], float], *pids: int) -> tuple[float, float]:
    """The answer of `act`, and the processor time that it took here and in these processes."""
    before = processor_seconds(*pids) + time.process_time()
    answer = act()
    return answer, processor_seconds(*pids) + time.process_time() - before


def _chord_seconds(parts: int) -> float:
    began = time.perf_counter()
    ended = chord(chorded_noop.s() for _ in range(parts))(chorded_end.si())
    while not ended.ready():
        time.sleep(0.05)
    return time.perf_counter() - began


def _fan_out_seconds(taskdb: TaskDB, parts: int, chunk: int) -> float:
    began = time.perf_counter()
    parent = taskdb.submit_fan_out("bench.noop", (None for _ in range(parts)), chunk_size=chunk)
    while not parent.status.is_terminal:
        time.sleep(0.05)
        parent = parent.refresh()
    if parent.status is not TaskStatus.COMPLETED:
        raise SystemExit(f"the fan-out is {parent.status}: {parent.error}")
    return time.perf_counter() - began


def _events_a_part(environment: dict[str, str]) -> float:
    url = environment["TASKDB_DATABASE_URL"].replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM taskdb_event e JOIN taskdb_task t ON t.id = e.task_id"
            " WHERE t.role = 'part')::float / (SELECT count(*) FROM taskdb_task"
            " WHERE role = 'part')"
        ).fetchone()
        return float(row[0]) if row else 0.0


def _measure_submits(environment: dict[str, str]) -> None:
    """Each in a process of its own, so that the memory is that of one submit."""
    costs = {}
    for parts in (MANY // 10, MANY):
        command = [sys.executable, "-m", "benchmarks.fan_out", str(parts)]
        output = subprocess.run(
            command, env={**os.environ, **environment}, check=True, capture_output=True, text=True
        ).stdout
        seconds, grown = (float(word) for word in output.split())
        costs[parts] = seconds / parts
        print(f"submit of {parts:,}: {seconds:.1f} s, {grown:.0f} MiB (goal < {GOAL_MIB})")
    ratio = costs[MANY] / costs[MANY // 10]
    print(f"  a part at {MANY:,} costs {ratio:.2f} x that at {MANY // 10:,} (goal {GOAL_COST})")


def _submit(parts: int) -> None:
    """One submit of so many parts: prints its seconds, and by how many MiB memory has grown."""
    with TaskDB() as taskdb:
        taskdb.submit_fan_out("bench.noop", [None] * 10)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        taskdb.submit_fan_out("bench.noop", (None for _ in range(parts)))
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(seconds, (after - before) / 1024)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _submit(int(sys.argv[1]))
    else:
        main()
