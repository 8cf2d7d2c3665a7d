"""Celery's messaging, with our own transport if the broker is Redis."""

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
    """Celery's event loop; it unregisters only files that it has registered.

    Before each wait, the pool unregisters the write side of every idle child, which is rarely
    registered. Each such call would cost an error of the kernel.
    """

    def remove_writer(self, fd: Any) -> None:
        """Stop watching this file for writing."""
        if fd in self.writers or fd in self.readers or not isinstance(fd, int):
            super().remove_writer(fd)


class BrokerConnection(Connection):
    """A broker connection that selects our event loop and our Redis transport."""

    requires_hub = Loop
    """A worker that reads from this connection builds its event loop from this class."""

    def get_transport_cls(self) -> Any:
        """Return the transport class for the scheme of the URL; imports ours only if needed."""
        is_redis = self.transport_cls in {"redis", "rediss"}
        return get_transport_cls(_REDIS_TRANSPORT) if is_redis else super().get_transport_cls()


class Messaging(AMQP):
    """Celery's messaging with these connections."""

    Connection = BrokerConnection
