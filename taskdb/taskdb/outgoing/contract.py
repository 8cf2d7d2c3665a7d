"""The interface of every transport of outgoing messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from taskdb.model.message import Message


class Transport(Protocol):
    """A connection to one target. Only one thread at a time may use it."""

    def send(self, message: Message) -> None:
        """Return once the target has taken the message; raises DeliveryFailed otherwise.

        It takes no longer than the limits of the transport.
        """

    def close(self) -> None:
        """Close the connections. A later send opens them again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The longest time and the largest response of one attempt to send."""

    connect_seconds: float = 5.0
    total_seconds: float = 15.0
    answer_bytes: int = 65_536
