"""A plain Celery app over the embedded broker, and the processes that its tests start.

Set by the environment: the URL, the lease in seconds, and the folder in which each run of a task
leaves a line.
"""

import itertools
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Connection, Exchange, Queue

from taskdb.celery.embedded.broker import register

register()

url = os.environ.get("EMBEDDED_URL", "taskdb-sqlite:///unused.sqlite3")
folder = Path(os.environ.get("EMBEDDED_FOLDER", "."))
options = {
    "lease_seconds": float(os.environ.get("EMBEDDED_LEASE", "10")),
    "busy_timeout_seconds": float(os.environ.get("EMBEDDED_BUSY", "30")),
}

app = Celery("embedded", broker=url)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    worker_pool="taskdb_worker.process.prefork:TaskPool",
    worker_hijack_root_logger=False,
    broker_transport_options=options,
    broker_connection_retry_on_startup=True,
)
queue = Queue("celery", Exchange("celery"), "celery")
everyone = Exchange("everyone", "fanout", durable=False)


@app.task(name="record")  # type: ignore[untyped-decorator]  # Celery has no types
def record(number: int) -> None:
    """Leave a line."""
    note("ran", number)


@app.task(name="wait")  # type: ignore[untyped-decorator]  # Celery has no types
def wait(number: int, seconds: float) -> None:
    """Run until the file ``go-<pid>`` exists, or for so many seconds."""
    note("began", number)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not (folder / f"go-{os.getpid()}").exists():
        time.sleep(0.02)
    note("ended", number)


def note(word: str, number: int) -> None:
    """Append one line; a write that short is atomic."""
    file = os.open(folder / "runs.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{word} {number} {os.getpid()}\n".encode())
    finally:
        os.close(file)


def publish(connection: Connection, first: int, count: int) -> None:
    """Publish plain numbers to the queue."""
    producer = connection.Producer()
    for number in range(first, first + count):
        producer.publish(
            number, exchange=queue.exchange, routing_key="celery", declare=[queue], retry=False
        )


def publish_when_told(first: int, count: int) -> None:
    """Say "ready", wait for the file ``start``, then open the broker and publish."""
    print("ready", flush=True)
    deadline = time.monotonic() + 30
    while not (folder / "start").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    with Connection(url, transport_options=options) as connection:
        publish(connection, first, count)


def publish_and_say() -> None:
    """Publish numbers without end and print each one when its publish has returned."""
    with Connection(url) as connection:
        for number in itertools.count():
            publish(connection, number, 1)
            print(number, flush=True)


def consume(count: int) -> None:
    """Note every message that this process gets, until ``count`` messages were noted by all."""
    with Connection(url, transport_options=options) as connection:

        def on_message(body: Any, message: Any) -> None:
            note("got", body)
            message.ack()

        with connection.Consumer([queue], callbacks=[on_message], prefetch_count=8):
            print("ready", flush=True)
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and _noted() < count:
                try:
                    connection.drain_events(timeout=0.1)
                except TimeoutError:
                    continue


def listen(number: int) -> None:
    """Print each message of the fanout that this listener hears."""
    ear = Queue(f"ear{number}", everyone, auto_delete=True, durable=False)
    with Connection(url, transport_options=options) as connection:
        callbacks = [lambda body, _: print(body, flush=True)]
        with connection.Consumer([ear], no_ack=True, callbacks=callbacks):
            print("listening", flush=True)
            while True:
                connection.drain_events()


def tell_without_end() -> None:
    """Publish numbers to the fanout until it is killed."""
    with Connection(url) as connection:
        producer = connection.Producer(exchange=everyone, auto_declare=True)
        print("telling", flush=True)
        for number in itertools.count():
            producer.publish(number)


def _noted() -> int:
    path = folder / "runs.txt"
    return path.read_text().count("\n") if path.exists() else 0


def fork_many(children: int) -> None:
    """Fork while threads publish and a message is held; each child publishes and ends normally."""
    connection = Connection(url, transport_options=options)
    publish(connection, 0, 1)
    held = queue(connection.default_channel).get()
    # Taken by the same channel: the held message must survive what the children do with it.
    ending = threading.Event()
    counts = [0, 0]
    threads = [
        threading.Thread(target=_publish_until, args=(ending, counts, index)) for index in (0, 1)
    ]
    for thread in threads:
        thread.start()
    codes = [_fork_one(connection, number) for number in range(children)]
    ending.set()
    for thread in threads:
        thread.join()
    print("codes", *codes, "published", sum(counts) + 3 * children, flush=True)
    # Longer than a lease ago: it was renewed here all the time, and is acknowledged here.
    held.ack()
    connection.close()


def _publish_until(ending: threading.Event, counts: list[int], index: int) -> None:
    with Connection(url, transport_options=options) as connection:
        while not ending.is_set():
            publish(connection, 1_000 * (index + 1), 1)
            counts[index] += 1


def _fork_one(connection: Connection, number: int) -> int:
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        if any("messages.sqlite3" in file for file in _open_files()):
            os._exit(3)
        publish(connection, 10 * number, 3)
        connection.close()
    except BaseException:  # noqa: BLE001 - the child must end here, whatever it was
        sys.excepthook(*sys.exc_info())
        os._exit(4)
    sys.exit(0)


def _open_files() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except OSError:
            continue
    return found


if __name__ == "__main__":
    word, *numbers = sys.argv[1:]
    globals()[word](*map(int, numbers))
