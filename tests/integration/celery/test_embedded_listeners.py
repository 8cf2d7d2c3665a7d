"""Fanout on the embedded broker: each listener hears each message, and none can fill the file."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue
from tests.integration.celery.test_embedded_broker import Broker
from tests.processes import Processes
from tests.waiting import wait_until

from taskdb.celery.embedded import listener
from taskdb.errors import Unroutable

EVERYONE = Exchange("everyone", "fanout", durable=False)


@pytest.fixture
def broker(tmp_path: Path, processes: Processes) -> Iterator[Broker]:
    with closing(Broker(tmp_path, processes)) as broker:
        yield broker


class Ear:
    """A listener with a connection of its own. It reads a message when a test calls it."""

    def __init__(self, broker: Broker, name: str, **options: Any) -> None:
        self.connection = broker.connect(lease_seconds=0.3)
        self.queue = Queue(name, EVERYONE, auto_delete=True, durable=False, **options)
        self.heard: list[Any] = []
        self.consumer = self.connection.Consumer(
            [self.queue], no_ack=True, callbacks=[lambda body, _: self.heard.append(body)]
        )
        self.consumer.consume()

    def listen(self) -> list[Any]:
        """Read until nothing is left, and return all that was heard so far."""
        while True:
            try:
                self.connection.drain_events(timeout=0.05)
            except TimeoutError:
                return self.heard


def tell(connection: Connection, *bodies: object, **options: Any) -> None:
    producer = connection.Producer(exchange=EVERYONE, auto_declare=True)
    for body in bodies:
        producer.publish(body, **options)


def stored(broker: Broker, table: str = "message") -> list[Any]:
    with closing(sqlite3.connect(broker.path, timeout=30)) as file:
        return file.execute(f"SELECT * FROM {table}").fetchall()


def age(broker: Broker, seconds: float) -> None:
    """Let time pass for the queues of listeners and for their messages."""
    with closing(sqlite3.connect(broker.path, timeout=30)) as file, file:
        file.execute("UPDATE queue SET seen_at = seen_at - ?", (seconds,))
        file.execute("UPDATE message SET stale_at = stale_at - ?", (seconds,))


def test_each_listener_hears_each_message_once(broker: Broker) -> None:
    one, other = Ear(broker, "one"), Ear(broker, "other")
    tell(broker.connect(), 1, 2, routing_key="ignored")
    assert one.listen() == other.listen() == [1, 2]
    assert stored(broker) == stored(broker, "content") == []


def test_a_batch_reaches_the_listeners_as_a_whole(broker: Broker) -> None:
    ear = Ear(broker, "ear")
    producer = broker.connect().Producer(exchange=EVERYONE, auto_declare=True)
    with producer.batch():
        producer.publish(1)
        producer.publish(2)
        assert ear.listen() == []
    assert ear.listen() == [1, 2]


def test_a_message_without_listeners_is_not_stored_and_a_mandatory_one_is_refused(
    broker: Broker,
) -> None:
    connection = broker.connect()
    tell(connection, *range(100))
    assert stored(broker) == []
    with pytest.raises(Unroutable, match="bind a queue"):
        tell(connection, 1, mandatory=True)
    Ear(broker, "ear")
    tell(connection, 1, mandatory=True)


def test_a_queue_that_lives_on_keeps_every_message_of_a_fanout(broker: Broker) -> None:
    connection = broker.connect()
    kept = Queue("kept", EVERYONE)
    kept(connection.default_channel).declare()
    # A later declaration as a short-lived one changes nothing.
    Queue("kept", EVERYONE, auto_delete=True)(broker.connect().default_channel).declare()
    tell(connection, *range(listener.MESSAGES_KEPT + 10))
    age(broker, 1e6)
    Ear(broker, "other").listen()
    assert len(broker.rows("queue = 'kept'")) == listener.MESSAGES_KEPT + 10


def test_a_listener_that_ends_takes_its_queue_along(broker: Broker) -> None:
    ear = Ear(broker, "ear")
    tell(broker.connect(), 1)
    ear.consumer.cancel()
    tell(ear.connection, 2)
    assert stored(broker) == stored(broker, "binding") == stored(broker, "queue") == []
    closed = Ear(broker, "closed")
    closed.connection.close()
    assert stored(broker, "queue") == []


def test_a_listener_that_never_reads_does_not_fill_the_file(broker: Broker) -> None:
    deaf = Ear(broker, "deaf")
    connection = broker.connect()
    body = "x" * 500
    tell(connection, *[body] * 2_000)
    size = broker.path.stat().st_size
    tell(connection, *[body] * 7_990, *range(10))
    assert len(stored(broker)) == len(stored(broker, "content")) == listener.MESSAGES_KEPT
    assert broker.path.stat().st_size < size * 1.2
    assert deaf.listen()[-10:] == list(range(10))


def test_a_message_that_is_too_old_is_heard_by_no_listener(broker: Broker) -> None:
    ear = Ear(broker, "ear", message_ttl=5)
    tell(broker.connect(), "old")
    age(broker, 6)
    tell(broker.connect(), "new")
    assert ear.listen() == ["new"]
    tell(broker.connect(), "old")
    age(broker, 6)
    # Any consumer removes it, without another message as well.
    other = Ear(broker, "other")
    wait_until(lambda: other.listen() == stored(broker), 5)
    assert ear.listen() == ["new"]


def test_the_queue_of_a_killed_listener_goes_and_that_of_a_living_one_stays(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "LISTENER_SECONDS", 1.0)
    living = Ear(broker, "living")
    process = broker.start("listen", 1)
    process.wait_for_output("listening")
    process.kill_all()
    tell(broker.connect(), 1)
    assert {row[0] for row in stored(broker, "queue")} == {"living", "ear1"}
    wait_until(lambda: living.listen() and len(stored(broker, "queue")) == 1, 10)
    assert [row[2] for row in stored(broker, "binding")] == ["living"]
    assert stored(broker) == []
    # Longer than its queue would live: it was renewed.
    tell(broker.connect(), 2)
    assert living.listen() == [1, 2]


def test_a_listener_whose_queue_was_deleted_is_heard_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "LISTENER_SECONDS", 0.5)
    ear = Ear(broker, "ear")
    broker.connect().default_channel.queue_delete("ear")
    connection = broker.connect()

    def hears() -> bool:
        tell(connection, 1)
        return bool(ear.listen())

    wait_until(hears, 5)


def test_two_processes_may_create_the_same_binding(broker: Broker) -> None:
    processes = [broker.start("listen", 1) for _ in range(4)]
    for process in processes:
        process.wait_for_output("listening")
    assert len(stored(broker, "binding")) == len(stored(broker, "queue")) == 1
    tell(broker.connect(), *range(20))
    wait_until(lambda: not stored(broker), 10)
    said = [line for process in processes for line in process.output.split()[1:]]
    assert sorted(map(int, said)) == list(range(20))


def test_a_publisher_killed_in_the_middle_leaves_whole_messages(broker: Broker) -> None:
    ears = [Ear(broker, f"ear{n}") for n in range(3)]
    process = broker.start("tell_without_end")
    process.wait_for_output("telling")
    wait_until(lambda: len(stored(broker)) > 300)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    heard = [ear.listen() for ear in ears]
    assert heard[0] == heard[1] == heard[2]
    assert heard[0] == list(range(heard[0][0], heard[0][-1] + 1))
    with closing(sqlite3.connect(broker.path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_an_acknowledged_broadcast_is_removed(broker: Broker) -> None:
    ear = Ear(broker, "ear")
    ear.consumer.cancel()
    tell(broker.connect(), "nobody")
    with ear.connection.Consumer([ear.queue], callbacks=[lambda _, message: message.ack()]):
        tell(broker.connect(), 1)
        ear.connection.drain_events(timeout=2)
        assert stored(broker) == []


def test_an_idle_listener_writes_seldom(broker: Broker) -> None:
    ear = Ear(broker, "ear")
    (seen,) = [row[1] for row in stored(broker, "queue")]
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        ear.listen()
    # The renewer looks every 0.1 s here, and has renewed at most once.
    with closing(sqlite3.connect(broker.path)) as file:
        (version,) = file.execute("PRAGMA data_version").fetchone()
        (renewed,) = file.execute("SELECT seen_at FROM queue").fetchone()
        while time.monotonic() < deadline + 1.5:
            ear.listen()
        assert file.execute("PRAGMA data_version").fetchone() == (version,)
    assert renewed - seen < 1
