"""Kombu's Redis transport with less traffic: one client a channel, one round trip a message.

The stock channel makes a new `redis.Redis` for every command, and fills its table of some 170
callbacks each time, which took longer than the command (60 of some 100 microseconds, redis 8,
kombu 5.7). A client holds no connection of its own, only the channel's pool, and may be shared.

The stock channel also waits for three replies a message: to take, to note and to acknowledge it.
While messages flow, this channel on an event loop sends one request and does not wait: a script
drops the notes of acknowledged messages, takes the next message and notes it, as kombu would.
"""

# Kombu's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty
from time import monotonic, time
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import ConnectionError as RedisConnectionError

from taskdb.celery.routing import Routed
from taskdb.logger import get_logger

log = get_logger("taskdb.transport")

_RETRIES = ("retry", "retry_on_error", "retry_on_timeout")
"""With one of these options redis-py reconnects by itself."""

_TAKE = """
local at = 2
while ARGV[at] do
  redis.call('ZREM', KEYS[1], ARGV[at])
  redis.call('HDEL', KEYS[2], ARGV[at])
  at = at + 1
end
for place = 3, #KEYS do
  local item = redis.call('LINDEX', KEYS[place], -1)
  if item then
    local is_read, message = pcall(cjson.decode, item)
    local said = is_read and type(message) == 'table' and message.properties
    local tag = type(said) == 'table' and said.delivery_tag
    local way = type(said) == 'table' and said.delivery_info
    local is_noted = type(tag) == 'string' and type(way) == 'table'
      and type(way.exchange) == 'string' and type(way.routing_key) == 'string'
    if is_noted then
      redis.call('ZADD', KEYS[1], ARGV[1], tag)
      redis.call('HSET', KEYS[2], tag, '[' .. item .. ',' .. cjson.encode(way.exchange)
        .. ',' .. cjson.encode(way.routing_key) .. ']')
    end
    redis.call('RPOP', KEYS[place])
    return {KEYS[place], item, is_noted and 1 or 0}
  end
end
return false
"""
"""Keys: index and notes of unacknowledged messages, lists to take. Arguments: time, acked tags.

A message is noted before it is taken, so no message is lost if the server stops the script.
"""


class QoS(redis.QoS):
    """Notes and acknowledges messages in one round trip each, without a transaction.

    Two commands are sent together, on two keys for the same message. If the server dies
    between them, one entry stays: an index entry without its message is dropped when its time has
    come; a message without its index entry is never read again.

    On an event loop an acknowledgement is sent with the channel's next request, or else before the
    loop waits. If the process dies before, the message is delivered again, as after a lost
    acknowledgement; the claim refuses it.
    """

    is_noted = False
    """Whether the message that is being delivered was noted when it was taken."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        # Set before the base class runs: its finalizer may call `settle`.
        self._acked: list[str] = []
        self._confirmed: list[str] = []
        super().__init__(*arguments, **keywords)

    def append(self, message: Any, delivery_tag: str) -> None:
        if self.is_noted:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        self._acked.append(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)
        if not self.channel.is_on_loop:
            self.settle()

    def restore_visible(self, *arguments: Any, **keywords: Any) -> None:
        self.settle()
        super().restore_visible(*arguments, **keywords)

    def restore_unacked_once(self, *arguments: Any, **keywords: Any) -> None:
        self.settle()
        try:
            super().restore_unacked_once(*arguments, **keywords)
        except self.channel.connection_errors as error:
            # The rest of the connection is closed all the same.
            log.warning(
                "messages.return_failed",
                count=len(self._delivered),
                reason=str(error),
                advice="they come again when their time is over, or when the beat misses them",
            )
            self._delivered.clear()

    def forget(self, delivery_tag: str) -> None:
        """Drop the note of a message that was never delivered."""
        self._acked.append(delivery_tag)

    def confirmed(self) -> list[str]:
        """Return the tags for the next request; they are sent until `heard` or `settle`."""
        self._confirmed += self._acked
        self._acked = []
        return self._confirmed

    def heard(self) -> None:
        """Record that the server has received the acknowledgements."""
        self._confirmed = []

    def settle(self) -> None:
        """Send the pending acknowledgements now."""
        tags = self.confirmed()
        self.heard()
        if not tags:
            return
        try:
            with self.pipe_or_acquire() as pipe:
                pipe.zrem(self.unacked_index_key, *tags).hdel(self.unacked_key, *tags).execute()
        except (*self.channel.connection_errors, self.channel.ResponseError) as error:
            log.warning(
                "ack.lost",
                count=len(tags),
                reason=str(error),
                advice="the messages come again and are ignored",
            )

    @contextmanager
    def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:
        if pipe:
            yield pipe
            return
        with self.channel.conn_or_acquire(client) as acquired:
            yield acquired.pipeline(transaction=False)


class UnreadableError(Exception):
    """An item of a queue is not a message."""


class Message(virtual.Message):
    """A message; raises UnreadableError if the payload lacks parts of one."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        try:
            super().__init__(payload, channel=channel, **options)
        except Exception as error:
            raise UnreadableError(f"{type(error).__name__}: {error}") from error
        if not isinstance(self.delivery_tag, str):
            raise UnreadableError(f"delivery tag {self.delivery_tag!r} is not text")


def _read(item: bytes) -> Any:
    try:
        return loads(bytes_to_str(item))
    except Exception as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


class Channel(Routed, redis.Channel):
    """Keeps one client for each connection pool, and takes messages by a script.

    BRPOP waits for the first message, the script takes further ones until it finds none.
    """

    QoS = QoS
    Message = Message

    _in_poll: Any
    _brpop_sent_at: Any
    _kept_client: Any = None
    _flows = False
    """The last reply brought a message, so there may be another."""
    _takes = False
    """The next reply is that of the script."""
    _may_take = True
    """The server has not refused the script."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._unacknowledged: set[str] = set()
        self._question: tuple[list[str], int, bytes] = ([], 0, b"")
        super().__init__(*arguments, **keywords)

    @property
    def is_on_loop(self) -> bool:
        """Whether an event loop polls this channel."""
        return bool(self.active_queues) and getattr(self.connection, "is_on_loop", False)

    @property
    def is_telling(self) -> bool:
        """Whether the script is on its way, with acknowledgements."""
        return self._takes and bool(self._in_poll)

    def basic_consume(self, queue: str, no_ack: bool, *arguments: Any, **keywords: Any) -> Any:
        if no_ack:
            # Notes of its messages would never be acknowledged, and so redeliver them.
            self._unacknowledged.add(queue)
        return super().basic_consume(queue, no_ack, *arguments, **keywords)

    def _basic_cancel(self, consumer_tag: str) -> Any:
        answer = super()._basic_cancel(consumer_tag)
        if not self.active_queues:
            # The loop sends no further request that could carry the acknowledgements.
            self.qos.settle()
        return answer

    def _brpop_start(self, timeout: float | None = None) -> None:
        self._takes = self._flows and self._may_take and self.is_on_loop and self._all_acknowledged
        if not self._takes:
            super()._brpop_start(timeout)
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        self._ask(repr(time()), *self.qos.confirmed())

    def _ask(self, *words: str) -> None:
        """Send the script with these arguments; the fixed part of the command is encoded once."""
        connection = self.client.connection
        queues = self._queue_cycle.consume(len(self.active_queues))
        known, number, spelled = self._question
        if queues != known:
            lists = [self._q_for_pri(name, step) for step in self.priority_steps for name in queues]
            notes = (self.unacked_index_key, self.unacked_key)
            keys = [self.global_keyprefix + key for key in (*notes, *lists)]
            number = len(keys) + 3
            packed = b"".join(connection.pack_command("EVAL", _TAKE, len(keys), *keys))
            # Without the number of words in front.
            spelled = packed.partition(b"\r\n")[2]
            self._question = (queues, number, spelled)
        encoded = [word.encode() for word in words]
        said = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
        command = b"*%d\r\n%b%b" % (number + len(words), spelled, said)
        connection.send_packed_command([command])

    def _brpop_read(self, **options: Any) -> Any:
        self._flows = False
        taken = self._taken() if self._takes else self._popped(**options)
        if not taken:
            raise Empty
        self._flows = True
        key, item, is_noted = taken
        queue = bytes_to_str(key).rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        self.qos.is_noted = bool(is_noted)
        try:
            self.connection._deliver(_read(item), queue)  # noqa: SLF001 - as kombu does
        except UnreadableError as error:
            self._drop(queue, item, error)
        finally:
            self.qos.is_noted = False
        return True

    def _drop(self, queue: str, item: bytes, error: UnreadableError) -> None:
        """Log an item that is not a message and drop its note, which would bring it back."""
        log.warning(
            "message.dropped",
            queue=queue,
            reason=str(error),
            bytes=len(item),
            advice="something else writes to this list; a task whose message it was gets another",
        )
        if self.qos.is_noted:
            self.qos.forget(_read(item)["properties"]["delivery_tag"])

    def _popped(self, **options: Any) -> Any:
        """Read the reply of BRPOP: a list's key, its message, and that it is not noted."""
        connection = self.client.connection
        try:
            popped = self.client.parse_response(connection, "BRPOP", **options)
        except self.connection_errors:
            connection.disconnect()
            raise
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        return popped and (*popped, False)

    def _taken(self) -> Any:
        """Read the script's reply: a list's key, its message, and whether it is noted; or None."""
        connection = self.client.connection
        try:
            taken = self.client.parse_response(connection, "EVAL")
        except self.ResponseError as error:
            # The user may not run scripts, or there is no memory for a note: use kombu's way.
            log.warning("transport.script_refused", reason=str(error))
            self._may_take = False
            return None
        except self.connection_errors:
            connection.disconnect()
            raise
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        self.qos.heard()
        return taken and (taken[0][len(self.global_keyprefix.encode()) :], *taken[1:])

    @property
    def _all_acknowledged(self) -> bool:
        return self._unacknowledged.isdisjoint(self.active_queues)

    def _connparams(self, *arguments: Any, **keywords: Any) -> Any:
        if self.connection is None or self.connection.client is None:
            # Each use of a closed connection passes here, for example the end of a body that
            # outlives it. Kombu would fail on the missing parts, with an error that ends a
            # worker.
            raise RedisConnectionError("this connection to Redis failed and was closed")
        found = super()._connparams(*arguments, **keywords)
        if found is not None and (keywords.get("asynchronous") or arguments[:1] == (True,)):
            # A request belongs to its socket. If redis-py reconnected in place, it would send the
            # request again, and each reply would be read as that of the request before it. Without
            # these options the connection fails, and the worker reconnects.
            for name in _RETRIES:
                found.pop(name, None)
        return found

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            # Each of these clients is bound to its own connection.
            return super()._create_client(asynchronous=True)
        if self._kept_client is None or self._kept_client.connection_pool is not self.pool:
            self._kept_client = super()._create_client()
        return self._kept_client


class Poller(redis.MultiChannelPoller):
    """Sends acknowledgements before the loop waits."""

    def on_poll_start(self) -> None:
        super().on_poll_start()
        for channel in self._channels:
            # While the script is on its way, new acknowledgements wait for its reply.
            if not channel.is_telling:
                channel.qos.settle()


class Transport(redis.Transport):
    """The Redis transport for Celery."""

    Channel = Channel
    cycle: Any
    is_on_loop = False

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, _Loop(loop))
        self.is_on_loop = True


class _Loop:
    """An event loop that ignores repeated registrations of the same reader."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_repeatedly(self, seconds: float, *arguments: Any, **keywords: Any) -> Any:
        """Call repeatedly; never if the interval is 0, which turns a check off."""
        if seconds:
            return self._loop.call_repeatedly(seconds, *arguments, **keywords)
        return _Never()

    def add_reader(self, fd: int, callback: Any, *arguments: Any) -> None:
        if self._loop.readers.get(fd) != (callback, arguments):
            self._loop.add_reader(fd, callback, *arguments)


class _Never:
    """The timer of a call that never runs."""

    def cancel(self) -> None:
        """Do nothing: the call never runs."""
