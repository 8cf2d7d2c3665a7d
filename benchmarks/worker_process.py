"""A worker process, and the time that it takes to drain a queue on Redis."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis

WORKER_OPTIONS = ("--without-mingle", "--without-gossip", "-O", "fair", "-l", "warning")


@contextmanager
def worker(
    app: str, environment: Mapping[str, str], processes: int, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A `celery worker` with so many prefork processes; it is ended on leaving."""
    command = [sys.executable, "-m", "celery", "-A", app, "worker", *WORKER_OPTIONS]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "-c", str(processes)],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def seconds_to_drain(client: "redis.Redis[bytes]", queue: str, messages: int) -> float:
    """From the first message taken to the last one acknowledged."""
    began: float | None = None
    while True:
        left = waiting(client, queue)
        now = time.perf_counter()
        if began is None and left < messages:
            began = now
        if left == 0 and client.hlen("unacked") == 0:
            return now - (began or now)
        time.sleep(0.01)


def waiting(client: "redis.Redis[bytes]", queue: str) -> int:
    """Messages of a queue, at all priorities."""
    lists = [queue, *(f"{queue}\x06\x16{step}" for step in range(1, 10))]
    pipeline = client.pipeline()
    for name in lists:
        pipeline.llen(name)
    return int(sum(pipeline.execute()))
