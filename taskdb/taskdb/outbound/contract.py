"""What goes out, and what every way out can do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One envelope on its way, the same for every transport."""

    id: str
    """The same at every attempt to send it, so that a receiver can drop what it has seen."""
    envelope: Mapping[str, Any]
    tenant: str = ""
    type: str = ""
    task_id: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Short words about it that a topic can filter by: `action`, `status`, `severity`, …"""

    @property
    def body(self) -> bytes:
        """The envelope as it is sent and signed: JSON in UTF-8."""
        text = json.dumps(self.envelope, ensure_ascii=False, separators=(",", ":"))
        # A lone half of a pair has no UTF-8; its escape is JSON that every reader takes.
        return text.encode("utf-8", "backslashreplace")


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
