"""The embedded broker with real processes: what is published is run, and nothing is lost."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.exceptions import ChannelError, OperationalError
from tests.processes import Processes, RunningProcess
from tests.rounds import rounds
from tests.waiting import wait_until

from taskdb.celery.embedded.broker import broker_url, register
from taskdb.celery.embedded.file import MessageFile, MessageFileBusy, MessageFileError
from taskdb.celery.embedded.messages import Messages

REPOSITORY = Path(__file__).parents[3]
APP = "tests.integration.celery.embedded_broker_app"

register()


class Broker:
    """The message file of a test, seen from outside and from as many connections as it wants."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.folder = folder
        self.path = folder / "broker" / "messages.sqlite3"
        self.url = broker_url(self.path)
        self._processes = processes
        self._connections: list[Connection] = []
        self._numbers = count(1)

    def connect(self, **options: float) -> Connection:
        connection = Connection(self.url, transport_options=options)
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        # A worker would take seconds to stop, and nothing is asked of that.
        for process in self._processes.started:
            if process.is_running:
                process.kill_all()
        for connection in self._connections:
            connection.close()

    def start(self, *words: object, **settings: object) -> RunningProcess:
        """Start a function of the app's module in a process of its own."""
        return self._processes.python(
            "-m", APP, *map(str, words), env=self._env(settings), cwd=REPOSITORY
        )

    def start_worker(self, *words: str, **settings: object) -> RunningProcess:
        name = f"w{next(self._numbers)}@test"
        return self._processes.python(
            *("-m", "celery", "-A", APP, "worker", "-n", name, "--loglevel", "INFO"),
            *("--without-mingle", "--without-gossip", "--without-heartbeat", *words),
            env=self._env(settings),
            cwd=REPOSITORY,
        )

    def app(self) -> Celery:
        app = Celery("embedded-test", broker=self.url, set_as_current=False)
        app.conf.task_ignore_result = True
        return app

    def send(self, name: str, *arguments: tuple[object, ...]) -> None:
        """Send one task for each tuple of arguments."""
        with self.app() as app, app.connection_for_write() as connection:
            producer = connection.Producer()
            for values in arguments:
                app.send_task(name, values, producer=producer)

    def rows(self, where: str = "1") -> list[tuple[Any, ...]]:
        """The messages in the file as (id, leased); none as long as there is no file."""
        if not self.path.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=30)) as file:
            statement = f"SELECT id, leased_at IS NOT NULL FROM message WHERE {where} ORDER BY id"
            return file.execute(statement).fetchall()

    def runs(self, word: str) -> list[tuple[int, int]]:
        """The lines that processes left: (number, process id)."""
        path = self.folder / "runs.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(n), int(pid)) for w, n, pid in map(str.split, lines) if w == word]

    def wait_for_runs(self, word: str, number: int, timeout: float = 20) -> list[tuple[int, int]]:
        wait_until(lambda: len(self.runs(word)) >= number, timeout, f"{number} lines of {word!r}")
        return self.runs(word)

    def wait_until_empty(self, timeout: float = 20) -> None:
        wait_until(lambda: not self.rows(), timeout, lambda: f"no message left: {self.rows()[:9]}")

    def _env(self, settings: dict[str, object]) -> dict[str, str]:
        given = {f"EMBEDDED_{name.upper()}": str(value) for name, value in settings.items()}
        return {"EMBEDDED_URL": self.url, "EMBEDDED_FOLDER": str(self.folder), **given}


@pytest.fixture
def broker(tmp_path: Path, processes: Processes) -> Iterator[Broker]:
    with closing(Broker(tmp_path, processes)) as broker:
        yield broker


QUEUE = Queue("q", Exchange("q"), "q")


def put(connection: Connection, *bodies: object, queue: Queue = QUEUE, **options: Any) -> None:
    producer = connection.Producer()
    for body in bodies:
        producer.publish(
            body,
            exchange=queue.exchange,
            routing_key=queue.routing_key,
            declare=[queue],
            **options,
        )


def get(connection: Connection, queue: Queue = QUEUE, **options: Any) -> Any:
    return queue(connection.default_channel).get(**options)


def take_all(connection: Connection, queue: Queue = QUEUE) -> list[Any]:
    """Take and acknowledge everything that is ready."""
    bodies = []
    while message := get(connection, queue):
        bodies.append(message.payload)
        message.ack()
    return bodies


# --- the URL --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("taskdb-sqlite:////var/lib/x/messages.sqlite3", "/var/lib/x/messages.sqlite3"),
        ("taskdb-sqlite://localhost//var/m.sqlite3", "/var/m.sqlite3"),
        ("taskdb-sqlite:////var/a%20b%3Bc%3F.sqlite3", "/var/a b;c?.sqlite3"),
        ("taskdb-sqlite:///.taskdb/messages.sqlite3", f"{Path.cwd()}/.taskdb/messages.sqlite3"),
    ],
)
def test_a_url_names_a_file(url: str, path: str) -> None:
    connection = Connection(url)
    assert str(connection.transport.messages.file.path) == path
    assert connection.as_uri() == broker_url(path)
    assert str(connection.clone().transport.messages.file.path) == path
    assert str(Connection(connection.as_uri()).transport.messages.file.path) == path
    connection.switch(url)
    assert str(connection.transport.messages.file.path) == path


@pytest.mark.parametrize(
    "url", ["taskdb-sqlite://", "taskdb-sqlite:///", "taskdb-sqlite://.taskdb/messages.sqlite3"]
)
def test_a_url_without_a_file_says_how_to_write_it(url: str) -> None:
    with pytest.raises(ValueError, match="taskdb-sqlite:////absolute/path"):
        Connection(url).connect()


def test_a_celery_app_takes_the_url_as_its_broker(broker: Broker) -> None:
    with broker.app() as app, app.connection_for_read() as connection:
        assert connection.connect().messages.file.path == broker.path
        assert connection.as_uri() == broker.url
        assert connection.supports_exchange_type("fanout")


# --- queues ---------------------------------------------------------------------------------------


def test_messages_arrive_in_order_and_the_highest_priority_first(broker: Broker) -> None:
    connection = broker.connect()
    for priority in (0, 9, 5):
        put(connection, *(f"{priority}-{n}" for n in range(3)), priority=priority)
    assert take_all(connection) == [f"{p}-{n}" for p in (9, 5, 0) for n in range(3)]


def test_queues_take_turns(broker: Broker) -> None:
    connection = broker.connect()
    other = Queue("other", Exchange("other"), "other")
    put(connection, *["a"] * 50)
    put(connection, *["b"] * 5, queue=other)
    seen: list[str] = []

    def take(body: str, message: Any) -> None:
        seen.append(body)
        message.ack()

    with connection.Consumer([QUEUE, other], callbacks=[take], prefetch_count=1):
        while len(seen) < 12:
            connection.drain_events(timeout=5)
    assert Counter(seen[:10]) == {"a": 5, "b": 5}


def test_a_requeued_message_keeps_its_place_and_says_that_it_is_redelivered(
    broker: Broker,
) -> None:
    connection = broker.connect()
    put(connection, 1, 2)
    first = get(connection)
    assert first.payload == 1
    assert first.delivery_info["redelivered"] is False
    first.requeue()
    again = get(connection)
    assert again.payload == 1
    assert again.delivery_info["redelivered"] is True
    again.ack()
    assert take_all(connection) == [2]


def test_a_rejected_message_is_dropped(broker: Broker) -> None:
    connection = broker.connect()
    put(connection, 1)
    get(connection).reject()
    assert broker.rows() == []


def test_a_closed_channel_gives_back_at_once_what_it_did_not_acknowledge(broker: Broker) -> None:
    one, other = broker.connect(), broker.connect()
    put(one, 1, 2)
    get(one)
    one.close()
    assert take_all(other) == [1, 2]


def test_without_acknowledgements_a_message_is_gone_when_taken(broker: Broker) -> None:
    connection = broker.connect()
    put(connection, 1, 2)
    assert get(connection, no_ack=True).payload == 1
    with connection.Consumer([QUEUE], no_ack=True, callbacks=[lambda body, message: None]):
        connection.drain_events(timeout=5)
    assert broker.rows() == []


def test_a_leased_message_is_not_counted_and_not_purged(broker: Broker) -> None:
    connection = broker.connect()
    put(connection, 1, 2, 3)
    held = get(connection)
    bound = QUEUE(connection.default_channel)
    assert bound.queue_declare(passive=True).message_count == 2
    assert bound.purge() == 2
    assert len(broker.rows()) == 1
    held.ack()
    assert bound.queue_declare(passive=True).message_count == 0


def test_a_queue_that_nobody_declared_is_not_found_and_neither_is_a_deleted_one(
    broker: Broker,
) -> None:
    one, other = broker.connect(), broker.connect()
    with pytest.raises(ChannelError, match="no queue 'q'"):
        QUEUE(one.default_channel).queue_declare(passive=True)
    put(one, 1)
    other.default_channel.queue_delete("q")
    assert broker.rows() == []
    with pytest.raises(ChannelError, match="no queue 'q'"):
        QUEUE(one.default_channel).queue_declare(passive=True)


def test_a_process_that_only_publishes_knows_the_bindings_of_the_others(broker: Broker) -> None:
    consumer, publisher = broker.connect(), broker.connect()
    exchange = Exchange("events", "topic")
    red = Queue("red", exchange, "color.red.#")
    red(consumer.default_channel).declare()
    producer = publisher.Producer(exchange=exchange)
    producer.publish("yes", routing_key="color.red.dark")
    producer.publish("no", routing_key="color.blue")
    assert take_all(consumer, red) == ["yes"]
    red(consumer.default_channel).unbind_from(exchange, "color.red.#")
    producer.publish("no more", routing_key="color.red.dark")
    assert take_all(consumer, red) == []


def test_a_batch_is_stored_whole_or_not_at_all(broker: Broker) -> None:
    connection = broker.connect()
    put(connection, 0)
    producer = connection.Producer()
    assert producer.supports_batch_publish
    with producer.batch():
        for number in range(1, 4):
            producer.publish(number, routing_key="q")
        assert len(broker.rows()) == 1
    assert take_all(connection) == [0, 1, 2, 3]

    def fail_midway() -> None:
        with producer.batch():
            producer.publish(4, routing_key="q")
            raise LookupError

    with pytest.raises(LookupError):
        fail_midway()
    assert broker.rows() == []


def test_large_bodies_pass_and_their_room_is_given_back(broker: Broker) -> None:
    connection = broker.connect(lease_seconds=0.3)
    text, raw = "x" * 1_000_000, bytes(range(256)) * 4_000
    put(connection, *[text] * 40)
    put(connection, raw, content_type="application/data", content_encoding="binary")
    assert broker.path.stat().st_size > 35_000_000
    assert take_all(connection) == [text] * 40 + [raw]
    # The renewer gives it back bit by bit, while there is one.
    wait_until(lambda: broker.path.stat().st_size < 12_000_000, 15, "the file to shrink")


def test_an_idle_consumer_costs_next_to_nothing(broker: Broker) -> None:
    connection = broker.connect()
    put(connection, 1)
    assert take_all(connection) == [1]
    with connection.Consumer([QUEUE], callbacks=[print]):
        before = time.process_time()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=2)
    used = (time.process_time() - before) / 2
    print(f"idle consumer: {used:.1%} of a processor")
    assert used < 0.1


# --- leases ---------------------------------------------------------------------------------------


def test_a_late_acknowledgement_does_not_take_the_message_from_its_new_owner(
    broker: Broker,
) -> None:
    one, other = broker.connect(lease_seconds=0.3), broker.connect(lease_seconds=5)
    put(one, 1)
    late = get(one)
    # As if the process had been stopped: its renewer does not run.
    messages: Messages = one.transport.messages
    leases = one.transport.leases
    held = dict(leases._held)
    leases.stop()
    leases._held.update(held)
    taken = wait_until(lambda: get(other), 5, "the lease to end")
    late.ack()
    assert len(broker.rows("leased_at IS NOT NULL")) == 1
    assert messages.renew(list(held.values())) == list(held.values())
    taken.ack()
    assert broker.rows() == []


def test_a_lease_from_before_a_reboot_is_over(broker: Broker) -> None:
    one, other = broker.connect(lease_seconds=0.5), broker.connect(lease_seconds=0.5)
    put(one, 1)
    get(one)
    one.transport.leases.stop()
    with closing(sqlite3.connect(broker.path)) as file, file:
        file.execute("UPDATE message SET leased_at = leased_at + 1e9")
    message = wait_until(lambda: get(other), 5, "the old lease to be seen through")
    message.ack()


def test_two_consumers_never_hold_the_same_message(broker: Broker) -> None:
    broker.start("publish_when_told", 0, 1200)
    consumers = [broker.start("consume", 1200) for _ in range(3)]
    for consumer in consumers:
        consumer.wait_for_output("ready")
    (broker.folder / "start").touch()
    for consumer in consumers:
        assert consumer.wait(40) == 0
    runs = broker.runs("got")
    assert Counter(number for number, _ in runs) == Counter(range(1200))
    assert len({pid for _, pid in runs}) == 3
    assert broker.rows() == []


# --- several processes ----------------------------------------------------------------------------


def test_four_publishing_processes_lose_nothing(broker: Broker) -> None:
    publishers = [broker.start("publish_when_told", 500 * n, 500) for n in range(4)]
    _start_together(broker, publishers)
    assert sorted(take_all(broker.connect(), _celery_queue())) == list(range(2000))


def test_what_was_published_survives_the_death_of_its_publisher(broker: Broker) -> None:
    publisher = broker.start("publish_and_say")
    publisher.wait_for_output("\n300\n")
    publisher.kill()
    said = [int(line) for line in publisher.output.split("\n")[:-1]]
    stored = take_all(broker.connect(), _celery_queue())
    assert stored[: len(said)] == said
    assert len(stored) - len(said) in (0, 1)


def test_eight_processes_may_create_the_file_at_once(broker: Broker) -> None:
    publishers = [broker.start("publish_when_told", 5 * n, 5) for n in range(8)]
    _start_together(broker, publishers)
    assert sorted(take_all(broker.connect(), _celery_queue())) == list(range(40))


def test_a_forked_child_neither_uses_nor_breaks_what_it_inherited(broker: Broker) -> None:
    process = broker.start("fork_many", 10, lease=0.5)
    assert process.wait(40) == 0, process.tail()
    words = process.output.split()
    assert words[1:11] == ["0"] * 10, process.tail()
    connection = broker.connect()
    assert len(take_all(connection, _celery_queue())) == int(words[-1])
    with closing(sqlite3.connect(broker.path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _start_together(broker: Broker, publishers: list[RunningProcess]) -> None:
    for publisher in publishers:
        publisher.wait_for_output("ready")
    (broker.folder / "start").touch()
    for publisher in publishers:
        assert publisher.wait(40) == 0, publisher.tail()


def _celery_queue() -> Queue:
    return Queue("celery", Exchange("celery"), "celery")


# --- real workers ---------------------------------------------------------------------------------


@pytest.mark.rounds
def test_messages_survive_a_worker_killed_twice(broker: Broker) -> None:
    many, lease = rounds(1_000, 3_000), 2.0
    began = time.monotonic()
    broker.send("record", *((number,) for number in range(many)))
    published = time.monotonic()
    for runs_before_kill in (many // 5, many * 3 // 5):
        worker = broker.start_worker("-c", "2", lease=lease)
        broker.wait_for_runs("ran", runs_before_kill)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.kill_all()
        killed = time.monotonic()
        stuck = {number for number, _ in broker.rows("leased_at IS NOT NULL")}
    broker.start_worker("-c", "2", lease=lease)
    wait_until(lambda: not stuck & {n for n, _ in broker.rows()}, lease + 8, "what was held")
    unstuck = time.monotonic() - killed
    broker.wait_until_empty()
    ended = time.monotonic()
    runs = Counter(number for number, _ in broker.runs("ran"))
    print(
        f"published {many / (published - began):.0f}/s, run {many / (ended - published):.0f}/s "
        f"with three starts, {sum(runs.values()) - many} run twice, "
        f"{len(stuck)} held by the killed worker, back after {unstuck:.1f} s"
    )
    assert set(runs) == set(range(many))
    # The worker needs a moment to start, and looks ten times in a lease.
    assert unstuck < lease + 5


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_a_task_longer_than_the_lease_runs_once(broker: Broker, pool: str) -> None:
    broker.send("record", *((number,) for number in range(100)))
    broker.send("wait", (1, 2.5))
    broker.start_worker("-c", "2", "-P", pool, lease=0.6)
    other = broker.start_worker("-c", "2", "-P", pool, lease=0.6)
    other.wait_for_output("ready")
    broker.wait_for_runs("ended", 1)
    broker.wait_until_empty()
    assert len(broker.runs("began")) == 1
    assert Counter(n for n, _ in broker.runs("ran")) == Counter(range(100))


def test_a_late_acknowledgement_of_a_stopped_worker_is_harmless(broker: Broker) -> None:
    broker.send("wait", (1, 25))
    stopped = broker.start_worker("-c", "1", lease=1)
    ((_, first),) = broker.wait_for_runs("began", 1)
    stopped.signal(signal.SIGSTOP)
    broker.start_worker("-c", "1", lease=1)
    _, (_, second) = broker.wait_for_runs("began", 2)
    (broker.folder / f"go-{first}").touch()
    broker.wait_for_runs("ended", 1)
    stopped.signal(signal.SIGCONT)
    stopped.wait_for_output("succeeded")
    stopped.wait_for_output("late acknowledgement")
    assert len(broker.rows("leased_at IS NOT NULL")) == 1
    (broker.folder / f"go-{second}").touch()
    broker.wait_until_empty()
    assert [pid for _, pid in broker.runs("began")] == [first, second]


def test_a_warm_shutdown_ends_what_runs_and_gives_back_the_rest(broker: Broker) -> None:
    broker.send("wait", (1, 20), *((number, 0) for number in range(2, 6)))
    worker = broker.start_worker("-c", "1")
    ((_, pid),) = broker.wait_for_runs("began", 1)
    # While the only child is busy, as many are taken as Celery's prefetch of four allows.
    wait_until(lambda: len(broker.rows("leased_at IS NOT NULL")) == 4, 5, "the prefetch")
    worker.signal(signal.SIGTERM)
    worker.wait_for_output("Warm shutdown")
    (broker.folder / f"go-{pid}").touch()
    assert worker.wait() == 0
    assert broker.rows("leased_at IS NOT NULL") == []
    ran = {number for number, _ in broker.runs("ended")}
    assert len(broker.rows()) == 5 - len(ran)


def test_a_worker_may_replace_its_children_all_the_time(broker: Broker) -> None:
    broker.send("record", *((number,) for number in range(60)))
    worker = broker.start_worker("-c", "2", "--max-tasks-per-child", "3", lease=1)
    broker.wait_for_runs("ran", 60, timeout=30)
    broker.wait_until_empty()
    runs = broker.runs("ran")
    assert Counter(n for n, _ in runs) == Counter(range(60))
    assert len({pid for _, pid in runs}) >= 20
    assert worker.is_running


def test_a_worker_lives_through_a_file_that_is_locked_for_long(broker: Broker) -> None:
    worker = broker.start_worker("-c", "2", busy=0.2)
    broker.send("record", (1,))
    broker.wait_for_runs("ran", 1)
    broker.wait_until_empty()
    with closing(sqlite3.connect(broker.path, isolation_level=None)) as file:
        put(broker.connect(), 2)
        file.execute("BEGIN IMMEDIATE")
        # In the transaction that holds the lock, so that the worker has something to want.
        publisher = broker.connect(busy_timeout_seconds=0.2)
        with pytest.raises(MessageFileBusy, match=str(broker.path)):
            publisher.default_channel.basic_publish(
                publisher.default_channel.prepare_message("late"), "", "q"
            )
        file.execute("ROLLBACK")
        broker.send("record", *((number,) for number in range(2, 200)))
        file.execute("BEGIN IMMEDIATE")
        worker.wait_for_output("locked for 0.2 s")
        file.execute("ROLLBACK")
    wait_until(lambda: not broker.rows("queue = 'celery'"), 20, "the worker to go on")
    assert {number for number, _ in broker.runs("ran")} == set(range(1, 200))
    assert worker.is_running


# --- a file that cannot be used -------------------------------------------------------------------


def _corrupt(path: Path) -> None:
    path.write_bytes(b"this is no database " * 1000)


def _someone_elses(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE customer (id)")


def _newer(path: Path) -> None:
    with Connection(broker_url(path)) as connection:
        connection.connect()
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (_corrupt, "not a database"),
        (Path.mkdir, "is a folder"),
        (_someone_elses, "a database of something else"),
        (_newer, "has schema 99"),
    ],
)
def test_an_unusable_file_is_named_in_an_operational_error(
    broker: Broker, spoil: Callable[[Path], None], problem: str
) -> None:
    broker.path.parent.mkdir()
    spoil(broker.path)
    with pytest.raises(OperationalError, match=problem) as caught:
        broker.connect().ensure_connection(max_retries=1, interval_start=0)
    assert isinstance(caught.value, MessageFileError)
    assert str(broker.path) in str(caught.value)


@pytest.mark.parametrize("version", [1_003, 2_004, 5_003])
def test_a_file_of_a_newer_release_that_this_one_can_live_with_is_used(
    broker: Broker, version: int
) -> None:
    """The thousands say with how many older schemas the code can live with it."""
    broker.path.parent.mkdir()
    _newer(broker.path)
    with closing(sqlite3.connect(broker.path)) as file:
        file.execute(f"PRAGMA user_version = {version}")
        file.execute("ALTER TABLE message ADD COLUMN of_next_release TEXT")
    with broker.connect() as connection, connection.SimpleQueue("orders") as queue:
        queue.put({"id": 1})
        message = queue.get(timeout=5)
        message.ack()
        assert message.payload == {"id": 1}


@pytest.mark.parametrize("version", [0, 1, 3, 1_004])
def test_a_file_that_needs_newer_code_is_refused(broker: Broker, version: int) -> None:
    broker.path.parent.mkdir()
    _newer(broker.path)
    with closing(sqlite3.connect(broker.path)) as file:
        file.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(MessageFileError, match=f"has schema {version}"):
        MessageFile(broker.path).check()


def test_a_folder_that_cannot_be_made_is_named(broker: Broker) -> None:
    broker.path.parent.touch()
    with pytest.raises(OperationalError, match=str(broker.path.parent)):
        broker.connect().ensure_connection(max_retries=1, interval_start=0)


def test_a_read_only_file_is_named() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "messages.sqlite3"
        with Connection(broker_url(path)) as connection:
            put(connection, 1)
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        program = (
            "import os, sys; from kombu import Connection\n"
            "from taskdb.celery.embedded.broker import register; register()\n"
            # Root may write to everything, so it becomes somebody else.
            "if os.getuid() == 0: os.setuid(65534)\n"
            "Connection(sys.argv[1]).ensure_connection(max_retries=1, interval_start=0)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, broker_url(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        Path(folder).chmod(0o755)
        assert "MessageFileError" in done.stderr
        assert f"{path}: " in done.stderr
        assert "read-only" in done.stderr


def test_a_file_deleted_under_a_running_process_is_made_again(broker: Broker) -> None:
    connection = broker.connect()
    put(connection, 1)
    for file in broker.path.parent.iterdir():
        file.unlink()
    put(connection, 2)
    assert take_all(broker.connect()) == [2]
