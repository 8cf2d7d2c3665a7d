"""Kombu's Redis transport, with one client a channel.

The stock channel makes a new `redis.Redis` for every command; its table of some 170 callbacks is
filled anew each time, which took longer than the command (60 of some 100 microseconds, redis 8,
kombu 5.7). A client holds no connection of its own, only the channel's pool, and may be shared.
"""

# Kombu's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport import redis


class QoS(redis.QoS):
    """Notes what is taken and acknowledged in one trip each, without a transaction around it.

    Two commands, sent together, on two keys that know the same message. A server that died
    between them would keep one of the two entries: an index entry without its message is dropped
    when its time has come, a message without its index entry is never looked at again.
    """

    @contextmanager
    def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:
        if pipe:
            yield pipe
            return
        with self.channel.conn_or_acquire(client) as acquired:
            yield acquired.pipeline(transaction=False)


class Channel(redis.Channel):
    """Keeps its client for as long as it keeps its pool."""

    QoS = QoS

    _kept_client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            # These are bound to one connection each, which is theirs to keep.
            return super()._create_client(asynchronous=True)
        if self._kept_client is None or self._kept_client.connection_pool is not self.pool:
            self._kept_client = super()._create_client()
        return self._kept_client


class Transport(redis.Transport):
    """Redis, as Celery knows it."""

    Channel = Channel
