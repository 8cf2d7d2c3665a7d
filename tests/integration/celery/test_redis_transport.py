"""Messages of Redis over an event loop: noted when taken, acknowledged with what follows."""

# Kombu has no types.
# mypy: disallow-untyped-calls=False

import base64
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from logging import getLogger
from time import monotonic
from typing import Any

import pytest
import redis
from kombu import Consumer, Exchange, Queue
from kombu.asynchronous import Hub, get_event_loop, set_event_loop
from kombu.transport.redis import SentinelChannel
from tests.servers import Redis
from tests.waiting import wait_until

from taskdb import Settings, SettingsError, TaskDB
from taskdb.celery.configuration import create_celery
from taskdb.celery.redis.options import _CHECKS

NAME = "letters"


class Reader:
    """A consumer on an event loop of its own, as a worker is one."""

    def __init__(
        self, url: str, *, visibility_timeout: float = 3600, no_ack: bool = False, **options: Any
    ) -> None:
        given = {"visibility_timeout": visibility_timeout, **options}
        celery = {"broker_transport_options": given}
        self.app = create_celery(Settings(broker_url=url, celery=celery))
        self.connection = self.app.connection_for_read()
        self.hub = Hub()
        self.channel: Any = self.connection.default_channel
        self.messages: list[Any] = []
        self.connection.transport.register_with_event_loop(self.connection.connection, self.hub)
        self.consumer = Consumer(
            self.channel, [Queue(NAME)], on_message=self.messages.append, no_ack=no_ack
        )
        self.consumer.consume()

    @property
    def bodies(self) -> list[Any]:
        return [message.payload for message in self.messages]

    def turn(self) -> None:
        """Once around the loop, which waits up to a second for something to happen."""
        self.hub.run_once()

    def turns(self, number: int) -> None:
        for _ in range(number):
            self.turn()

    def read(self, number: int) -> None:
        wait_until(lambda: self.turn() or len(self.messages) >= number, 10)

    def close(self) -> None:
        with suppress(OSError, redis.RedisError):
            self.connection.release()
        self.hub.close()
        self.app.close()


@contextmanager
def reading(url: str, **options: Any) -> Iterator[Reader]:
    before = get_event_loop()
    try:
        with closing(Reader(url, **options)) as reader:
            yield reader
    finally:
        set_event_loop(before)


@pytest.fixture
def line(redis_url: str) -> Iterator["redis.Redis[bytes]"]:
    with redis.Redis.from_url(redis_url) as line:
        yield line


@pytest.fixture
def reader(redis_url: str) -> Iterator[Reader]:
    with reading(redis_url) as reader:
        yield reader


def send(url: str, *bodies: Any, priorities: tuple[int, ...] = (), options: Any = None) -> None:
    settings = Settings(broker_url=url, celery={"broker_transport_options": options or {}})
    with create_celery(settings) as app, app.connection_for_write() as connection:
        producer = connection.Producer(serializer="json")
        for place, body in enumerate(bodies):
            priority = priorities[place] if priorities else 0
            producer.publish(body, routing_key=NAME, declare=[Queue(NAME)], priority=priority)


def notes(line: "redis.Redis[bytes]") -> tuple[int, int]:
    """How many messages are noted as taken, in each of the two places."""
    return line.hlen("unacked"), line.zcard("unacked_index")


def test_all_are_read_once_in_the_order_of_their_priorities(
    redis_url: str, reader: Reader, line: "redis.Redis[bytes]"
) -> None:
    send(redis_url, *range(30), priorities=tuple(9 - n % 3 for n in range(30)))
    reader.read(30)
    by_priority = [*range(2, 30, 3), *range(1, 30, 3), *range(0, 30, 3)]
    assert reader.bodies == by_priority
    assert notes(line) == (30, 30)
    for message in reader.messages:
        message.ack()
    reader.turn()
    assert notes(line) == (0, 0)


def test_a_note_is_kombus_own(redis_url: str, reader: Reader, line: "redis.Redis[bytes]") -> None:
    send(redis_url, {"text": 'a "quoted" / täxt'}, {"text": 'a "quoted" / täxt'})
    reader.read(2)
    # The first was blocked for, and so noted by kombu; the second by the script.
    first, second = (
        json.loads(line.hget("unacked", message.delivery_tag) or b"")  # type: ignore[arg-type]
        for message in reader.messages
    )
    assert first[1:] == second[1:] and len(second) == 3
    assert [base64.b64decode(note[0]["body"]) for note in (first, second)] == [
        reader.messages[0].body.encode() if isinstance(message.body, str) else bytes(message.body)
        for message in reader.messages
    ]
    assert {*first[0]} == {*second[0]}


def test_an_acknowledgement_is_sent_before_the_loop_waits(
    redis_url: str, reader: Reader, line: "redis.Redis[bytes]"
) -> None:
    send(redis_url, 1, 2)
    reader.read(2)
    reader.messages[0].ack()
    assert notes(line) == (2, 2)
    reader.turn()
    assert notes(line) == (1, 1)


def test_an_acknowledgement_is_sent_with_the_question_for_the_next_message(
    redis_url: str, reader: Reader, line: "redis.Redis[bytes]"
) -> None:
    reader.consumer.qos(prefetch_count=1)
    send(redis_url, *range(4))
    for number in range(1, 5):
        reader.read(number)
        assert notes(line) == (1, 1)
        reader.messages[-1].ack()
    reader.turn()
    assert notes(line) == (0, 0) and reader.bodies == [0, 1, 2, 3]


def test_who_stops_reading_leaves_no_acknowledgement_behind(
    redis_url: str, reader: Reader, line: "redis.Redis[bytes]"
) -> None:
    send(redis_url, 1, 2)
    reader.read(2)
    reader.messages[0].ack()
    reader.consumer.cancel()
    assert notes(line) == (1, 1)
    # From here on nobody asks the loop for the next: each goes by itself.
    reader.messages[1].ack()
    assert notes(line) == (0, 0)


def test_who_closes_sends_acknowledgements_and_gives_the_others_back(
    redis_url: str, line: "redis.Redis[bytes]"
) -> None:
    with reading(redis_url) as reader:
        send(redis_url, 1, 2)
        reader.read(2)
        reader.messages[0].ack()
    assert notes(line) == (0, 0)
    with reading(redis_url) as other:
        other.read(1)
        assert other.bodies == [2]


def test_what_was_taken_and_never_heard_of_comes_again(
    redis_url: str, line: "redis.Redis[bytes]"
) -> None:
    with reading(redis_url, visibility_timeout=0.2) as reader:
        send(redis_url, 1, 2)
        reader.read(1)
        reader.messages[0].ack()
        # It asks for the second, and dies before the answer.
        reader.channel.connection.cycle.on_poll_start()
        wait_until(lambda: notes(line) == (1, 1))
        reader.channel.client.connection.disconnect()
        reader.channel.qos.restore_at_shutdown = False
    with reading(redis_url, visibility_timeout=0.2) as other:
        wait_until(lambda: other.channel.qos.restore_visible() or notes(line) == (0, 0))
        other.read(1)
        assert other.bodies == [2]


def test_an_acknowledgement_that_was_lost_makes_the_message_come_again(
    own_redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    url = own_redis.url_of(0)
    with redis.Redis.from_url(url) as line, reading(url, visibility_timeout=0.2) as reader:
        send(url, 1)
        reader.read(1)
        reader.messages[0].ack()
        line.execute_command("ACL", "SETUSER", "default", "-zrem", "-hdel", "-eval")
        reader.turn()
        reader.turn()
        line.execute_command("ACL", "SETUSER", "default", "+zrem", "+hdel", "+eval")
        assert "ack.lost" in capsys.readouterr().out
        assert notes(line) == (1, 1)
        wait_until(lambda: reader.channel.qos.restore_visible() or notes(line) == (0, 0))
        reader.read(2)
        assert reader.bodies == [1, 1]


def test_a_server_that_runs_no_scripts_is_read_from_as_kombu_does(own_redis: Redis) -> None:
    url = own_redis.url_of(0)
    with redis.Redis.from_url(url) as line:
        line.execute_command("ACL", "SETUSER", "default", "-eval")
        with reading(url) as reader:
            send(url, *range(5))
            reader.read(2)
            for message in reader.messages:
                message.ack()
            reader.read(5)
            for message in reader.messages[2:]:
                message.ack()
            reader.turn()
            assert reader.bodies == list(range(5)) and notes(line) == (0, 0)


def test_messages_that_nobody_acknowledges_are_not_noted(
    redis_url: str, line: "redis.Redis[bytes]"
) -> None:
    with reading(redis_url, no_ack=True) as reader:
        send(redis_url, *range(5))
        reader.read(5)
        assert reader.bodies == list(range(5)) and notes(line) == (0, 0)


def test_a_connection_that_breaks_is_read_from_again(
    redis_url: str, reader: Reader, line: "redis.Redis[bytes]"
) -> None:
    send(redis_url, 1, 2)
    reader.read(2)
    reader.messages[0].ack()
    reader.channel.client.connection.disconnect()
    send(redis_url, 3)
    reader.read(3)
    assert reader.bodies == [1, 2, 3]
    assert notes(line) == (2, 2)


def test_a_line_that_broke_is_put_away_whatever_was_taken_over_it(
    reader: Reader, redis_url: str, line: "redis.Redis[bytes]"
) -> None:
    """As a worker does when its broker is killed: collected first, and closed after that."""
    send(redis_url, 1, 2)
    reader.read(2)
    reader.messages[0].ack()
    reader.connection._transport.client = None
    reader.channel.close()
    assert notes(line) == (2, 2)


def test_a_worker_outlives_the_death_of_its_broker_whatever_was_taken_over_its_line(
    own_redis: Redis,
) -> None:
    """As a worker goes through it: its line is collected, then closed, and then a body is over."""
    url = own_redis.url_of(0)
    with reading(url) as reader:
        connection = reader.connection
        errors = (*connection.connection_errors, *connection.channel_errors)
        # As that of remote control: what fails to be closed before the one that brought tasks.
        ears = Queue("ears", Exchange("ears", "fanout"), auto_delete=True)
        Consumer(connection.channel(), [ears], on_message=reader.messages.append).consume()
        send(url, 1, 2, 3)
        reader.read(3)
        reader.messages[0].ack()
        # Nothing is left, so it waits for a message; its broker dies before there is one.
        reader.turn()
        connection.transport.cycle.on_poll_start()
        own_redis.kill()
        connection.collect(socket_timeout=5)
        connection.close()
        own_redis.start()
        reader.messages[1].ack_log_error(getLogger(), errors)
        reader.messages[2].reject_log_error(getLogger(), errors, requeue=True)


# --- options --------------------------------------------------------------------------------------


OPTIONS: list[dict[str, Any]] = [
    {"sep": ":"},
    {"unacked_key": "own", "unacked_index_key": "own_index", "unacked_mutex_key": "own_mutex"},
    {"unacked_mutex_expire": 10},
    {"unacked_restore_limit": 5},
    {"unacked_restore_interval": 0.5},
    {"unacked_restore_throttle": 3},
    {"fanout_prefix": False},
    {"fanout_prefix": "/own."},
    {"fanout_patterns": False},
    {"global_keyprefix": "own:"},
    {"global_keyprefix": ""},
    {"socket_timeout": None},
    {"socket_timeout": 0.5},
    {"socket_connect_timeout": None},
    {"socket_keepalive": False},
    {"socket_keepalive_options": {"4": 60}},
    {"queue_order_strategy": "priority"},
    {"queue_order_strategy": "sorted"},
    {"queue_order_strategy": "kombu.utils.scheduling:sorted_cycle"},
    {"max_connections": 1},
    {"max_connections": None},
    {"health_check_interval": 0},
    {"health_check_interval": 1},
    {"reauth_check_interval": 0},
    {"retry_on_timeout": True},
    {"priority_steps": [0]},
    {"priority_steps": [0, 5]},
    {"client_name": "own"},
    {"polling_interval": 0.5},
    {"body_encoding": None},
    {"deadletter_queue": "dead"},
    {"an_option_of_anothers": 1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_option_that_is_taken_works(redis_url: str, options: dict[str, Any]) -> None:
    with reading(redis_url, **options) as reader:
        send(redis_url, *range(5), options=options)
        reader.read(5)
        assert sorted(reader.bodies) == [*range(5)]
        for message in reader.messages[:4]:
            message.ack()
        reader.turn()
        reader.messages[4].reject(requeue=True)
        reader.read(6)
        assert reader.bodies[5] == reader.bodies[4]
        reader.messages[5].ack()
        reader.turn()


def test_an_interval_of_none_lets_the_loop_rest(redis_url: str) -> None:
    with reading(redis_url, health_check_interval=0, reauth_check_interval=0) as reader:
        reader.turn()
        began = monotonic()
        for _ in range(3):
            reader.turn()
        # A timer of none would be due at once, again and again.
        assert monotonic() - began > 0.2


REFUSED: dict[str, list[Any]] = {
    "ack_emulation": [False, None, 1],
    "visibility_timeout": [0, None, "3600", True],
    "unacked_key": ["", None, 3],
    "unacked_index_key": [""],
    "unacked_mutex_key": [None],
    "unacked_mutex_expire": [0, 1.5, "x"],
    "unacked_restore_limit": [0, "x"],
    "unacked_restore_interval": [0, None, "10"],
    "unacked_restore_throttle": [0, None, 1.5],
    "sep": ["", None],
    "fanout_prefix": ["own", None],
    "fanout_patterns": ["yes"],
    "global_keyprefix": [None, 3],
    "socket_timeout": [0, -1, "5"],
    "socket_connect_timeout": [0, "5"],
    "socket_keepalive": ["yes"],
    "socket_keepalive_options": [{"TCP_KEEPIDLE": 60}, [4, 60], {"4": "x"}],
    "queue_order_strategy": ["random", "nowhere.at.all", 3, None],
    "max_connections": [0, "10"],
    "health_check_interval": [None, -1, "25"],
    "reauth_check_interval": [None, "10"],
    "retry_on_timeout": ["yes", 3],
    "priority_steps": [[], [3, 6], [6, 0], ["0"], 3, None],
    "client_name": [3],
    "polling_interval": [0, -1, "1"],
    "body_encoding": ["rot13"],
    "deadletter_queue": [3],
    "visibilty_timeout": [3],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, some in REFUSED.items() for value in some]
)
def test_an_option_that_cannot_work_is_refused_in_words_at_the_start(name: str, value: Any) -> None:
    celery = {"broker_transport_options": {name: value}}
    settings = Settings(broker_url="redis://localhost/0", celery=celery)
    for start in (create_celery, TaskDB):
        with pytest.raises(SettingsError, match=f"broker_transport_options.*{name}"):
            start(settings)  # type: ignore[operator]


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost/0?socket_timeout=5",
        "redis://localhost/0?retry_on_timeout=true",
        "redis://localhost/0?port=secret",
        "redis://[localhost/0?secret=1",
        "amqp://localhost//?heartbeat=secret",
        "redis://localhost/0;redis://elsewhere/0?ack_emulation=false",
    ],
)
def test_a_url_that_kombu_cannot_read_is_refused_in_words_at_the_start(url: str) -> None:
    """Kombu says so at the first message, and would of every other one."""
    for start in (create_celery, TaskDB):
        with pytest.raises(
            SettingsError, match=r"TASKDB_BROKER_URL .*broker_transport_opt"
        ) as told:
            start(Settings(broker_url=url))
        assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "url", ["redis://:secret/x@localhost/0", "redis://:x?secret=1@localhost/0"]
)
def test_a_password_that_kombu_would_cut_is_refused_when_the_settings_are_read(url: str) -> None:
    with pytest.raises(SettingsError, match=r"TASKDB_BROKER_URL: spell .*%2F") as told:
        Settings.load({"TASKDB_BROKER_URL": url})
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("options", [None, [], "x", 3])
def test_options_are_an_object(options: Any) -> None:
    settings = Settings(
        broker_url="redis://localhost/0", celery={"broker_transport_options": options}
    )
    with pytest.raises(SettingsError, match="Give an object"):
        create_celery(settings)


def test_a_broker_of_sentinels_needs_the_name_of_its_group() -> None:
    url = "sentinel://localhost:26379"
    with pytest.raises(SettingsError, match="master_name"):
        create_celery(Settings(broker_url=url))
    celery = {"broker_transport_options": {"master_name": "mymaster"}}
    create_celery(Settings(broker_url=url, celery=celery)).close()


def test_every_option_of_kombu_is_looked_at() -> None:
    assert set(SentinelChannel.from_transport_options) <= _CHECKS.keys()


# --- a connection that breaks ---------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_connection_that_breaks_between_two_questions_is_not_made_again_in_place(
    redis_url: str, line: "redis.Redis[bytes]", number: int
) -> None:
    options = {"retry_on_timeout": True, "health_check_interval": 1}
    with reading(redis_url, **options) as reader:
        send(redis_url, *range(10), options=options)
        reader.read(number)
        own = reader.channel.client.connection
        line.client_kill_filter(_type="normal", skipme=True)
        # The next question is preceded by a look whether the connection lives.
        if own is not None:
            own.next_health_check = -1
        with pytest.raises(reader.connection.connection_errors):
            reader.turns(20)
