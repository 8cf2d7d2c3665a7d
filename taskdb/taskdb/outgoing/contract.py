"""What every transport of outgoing messages can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from taskdb.model.message import Message


class Transport(Protocol):
    """A way out to one target. May be used by one thread at a time."""

    def send(self, message: Message) -> None:
        """Return once the target has taken the message; raise DeliveryFailed for everything else.

        Lasts no longer than the limits it was made with.
        """

    def close(self) -> None:
        """Let go of connections. It may be used again after."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much one attempt to send may take."""

    connect_seconds: float = 5.0
    total_seconds: float = 15.0
    answer_bytes: int = 65_536
