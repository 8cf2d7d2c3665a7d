"""Errors about the broker."""

from __future__ import annotations

from taskdb.errors.taskdb_error import TaskDBError


class BrokerUnreachable(TaskDBError):
    """The broker is not reachable, refuses, or did not respond in time.

    Committed tasks are kept, and the relay publishes them.
    """

    page = "how-to/why-is-it-not-running.md"


class Unroutable(TaskDBError, LookupError):
    """A message has no queue to go to, so it was not sent."""

    page = "how-to/why-is-it-not-running.md"

    def __init__(self, exchange: str, routing_key: str, advice: str) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.advice = advice
        super().__init__(
            f"exchange {exchange!r} routes a message with the routing key {routing_key!r} to no "
            f"queue: {advice}"
        )
