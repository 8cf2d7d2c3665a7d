"""Celery's messaging, over our own transport where the broker is Redis."""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP
from kombu.asynchronous import Hub
from kombu.connection import Connection
from kombu.transport import get_transport_cls

_REDIS_TRANSPORT = "taskdb.celery.redis.transport:Transport"


class Loop(Hub):
    """Celery's event loop; it asks the kernel to forget only what it knows.

    Before each wait the pool takes back, for every child it has nothing for, that it wanted to
    write to it. It hardly ever wanted to, and each time the kernel answers with an error.
    """

    def remove_writer(self, fd: Any) -> None:
        """Watch this file for writing no more."""
        if fd in self.writers or fd in self.readers or not isinstance(fd, int):
            super().remove_writer(fd)


class BrokerConnection(Connection):
    """A connection as Celery makes it."""

    requires_hub = Loop
    """A worker that reads from this connection makes its event loop of this class."""

    def get_transport_cls(self) -> Any:
        """The class that the scheme of the URL names; ours is imported when it is wanted."""
        is_redis = self.transport_cls in {"redis", "rediss"}
        return get_transport_cls(_REDIS_TRANSPORT) if is_redis else super().get_transport_cls()


class Messaging(AMQP):
    """Celery's messaging with such connections."""

    Connection = BrokerConnection
