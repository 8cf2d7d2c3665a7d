"""Messages a second through the embedded broker, end to end, with a real prefork worker.

    python -m benchmarks.embedded_broker [messages] [processes]

Prints one line for each way: published one at a time, published as a batch, queued beforehand and
then run, and run while they are being published. A task appends a byte to a file, no more.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from celery import Celery
from kombu import Connection

from taskdb.celery.embedded.broker import broker_url, register

register()

app = Celery("embedded-benchmark", broker=os.environ.get("EMBEDDED_URL"))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    worker_enable_remote_control=False,
)


@app.task(name="tick")  # type: ignore[untyped-decorator]  # Celery has no types
def tick() -> None:
    """Append one byte, so that runs can be counted."""
    file = os.open(os.environ["EMBEDDED_COUNT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, b".")
    os.close(file)


class Run:
    """One fresh message file and one count of runs."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "messages.sqlite3"
        self.count = folder / "runs"
        self.count.touch()
        app.conf.broker_url = broker_url(self.path)

    def publish(self, messages: int, *, batch: bool) -> float:
        """Return the seconds it took."""
        with Connection(broker_url(self.path)) as connection:
            producer = connection.Producer()
            began = time.perf_counter()
            if batch:
                with producer.batch():
                    self._send(producer, messages)
            else:
                self._send(producer, messages)
            return time.perf_counter() - began

    def wait_for(self, messages: int) -> None:
        while self.count.stat().st_size < messages:
            time.sleep(0.005)

    def wait_until_empty(self) -> None:
        with closing(sqlite3.connect(self.path)) as file:
            while file.execute("SELECT 1 FROM message LIMIT 1").fetchone():
                time.sleep(0.005)

    @contextmanager
    def worker(self, processes: int) -> Iterator[subprocess.Popen[bytes]]:
        """A worker, ended by its process id."""
        words = "-m celery -A benchmarks.embedded_broker worker --without-mingle --without-gossip"
        process = subprocess.Popen(
            [sys.executable, *words.split(), "-c", str(processes), "-l", "ERROR"],
            env={
                **os.environ,
                "EMBEDDED_URL": broker_url(self.path),
                "EMBEDDED_COUNT": str(self.count),
            },
            cwd=Path(__file__).parents[1],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    @staticmethod
    def _send(producer: object, messages: int) -> None:
        for _ in range(messages):
            app.send_task("tick", producer=producer)


@contextmanager
def fresh() -> Iterator[Run]:
    with tempfile.TemporaryDirectory() as folder:
        yield Run(Path(folder))


def measure_publishing(messages: int) -> None:
    """How fast one process publishes."""
    for name, batch in (("published one at a time", False), ("published as batches", True)):
        with fresh() as run:
            show(name, messages, run.publish(messages, batch=batch))


def measure_backlog(messages: int, processes: int) -> None:
    """How fast a worker runs what is queued: from its first run until nothing is left."""
    with fresh() as run:
        run.publish(messages, batch=True)
        with run.worker(processes):
            run.wait_for(1)
            began = time.perf_counter()
            run.wait_until_empty()
            show("queued, then run", messages, time.perf_counter() - began)


def measure_live(messages: int, processes: int) -> None:
    """End to end: a worker waits, and each message is published on its own."""
    with fresh() as run:
        run.publish(1, batch=False)
        with run.worker(processes):
            run.wait_for(1)
            began = time.perf_counter()
            run.publish(messages, batch=False)
            run.wait_for(messages + 1)
            run.wait_until_empty()
            show("published and run", messages, time.perf_counter() - began)


def show(name: str, messages: int, seconds: float) -> None:
    print(f"{name:26} {messages / seconds:7.0f} messages/s", flush=True)


def main() -> None:
    """Measure everything and print it."""
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    print(f"{messages} messages, prefork with {processes} processes, late acks")
    measure_publishing(messages)
    measure_backlog(messages, processes)
    measure_live(messages, processes)


if __name__ == "__main__":
    main()
