"""Refuses messages that no queue would get; kombu's virtual channels drop them silently."""

# Kombu's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from typing import Any

from kombu.transport import virtual

from taskdb.errors import Unroutable

_BIND = "bind a queue to it, or change `task_routes`"
_HEARD = "who listens to a fanout cannot be told; name a queue in `task_routes`"


class Routed(virtual.Channel):
    """Refuses a mandatory message that no queue would get, without another query to the broker."""

    knows_listeners = False
    """Whether a lookup finds the queues of a fanout exchange."""
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
        if is_wanted and not self.knows_listeners and self.typeof(exchange).type == "fanout":
            raise Unroutable(exchange, routing_key, _HEARD)
        self._is_routed = True
        answer = super().basic_publish(message, exchange, routing_key, **options)
        if is_wanted and not self._is_routed:
            raise Unroutable(exchange, routing_key, _BIND)
        return answer
