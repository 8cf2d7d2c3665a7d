"""Celery's messaging, over our own transport where the broker is Redis."""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.transport import get_transport_cls

_REDIS_TRANSPORT = "taskdb.celery.redis_transport:Transport"


class BrokerConnection(Connection):
    """A connection as Celery makes it."""

    def get_transport_cls(self) -> Any:
        """The class that the scheme of the URL names; ours is imported when it is wanted."""
        is_redis = self.transport_cls in {"redis", "rediss"}
        return get_transport_cls(_REDIS_TRANSPORT) if is_redis else super().get_transport_cls()


class Messaging(AMQP):
    """Celery's messaging with such connections."""

    Connection = BrokerConnection
