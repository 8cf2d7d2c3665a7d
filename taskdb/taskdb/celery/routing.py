"""Refuses messages that no queue would get; kombu's virtual channels drop them silently."""

# Kombu's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from typing import Any

from kombu.transport import virtual
from kombu.transport.virtual.exchange import FanoutExchange

from taskdb.errors import Unroutable

_BIND = "bind a queue to it, or change `task_routes`"
_FANOUT = (
    "the embedded broker has no fanout, and so no remote control (`inspect`, broadcast). Use Redis "
    "or RabbitMQ for it (TASKDB_BROKER_URL)"
)
_HEARD = "who listens to a fanout cannot be told; name a queue in `task_routes`"


class NoFanout(FanoutExchange):
    """A fanout exchange that can be declared and bound; it refuses every message."""

    def deliver(self, message: Any, exchange: str, routing_key: str, **options: Any) -> None:
        """Raise Unroutable."""
        raise Unroutable(exchange, routing_key, _FANOUT)


class Routed(virtual.Channel):
    """Refuses a mandatory message that no queue would get, without another query to the broker."""

    _is_routed = True

    def _lookup(self, *arguments: Any, **options: Any) -> Any:
        found = super()._lookup(*arguments, **options)
        self._is_routed = bool({*found} - {None, self.deadletter_queue})
        return found

    def basic_publish(self, message: Any, exchange: str, routing_key: str, **options: Any) -> Any:
        """Route and send a message; raises Unroutable for a mandatory one without a queue.

        Without an exchange the routing key is the queue, and there is no lookup.
        """
        is_wanted = exchange and options.get("mandatory")
        if is_wanted and self.supports_fanout and self.typeof(exchange).type == "fanout":
            raise Unroutable(exchange, routing_key, _HEARD)
        self._is_routed = True
        answer = super().basic_publish(message, exchange, routing_key, **options)
        if is_wanted and not self._is_routed:
            raise Unroutable(exchange, routing_key, _BIND)
        return answer
