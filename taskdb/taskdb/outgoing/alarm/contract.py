"""What every channel that is open can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Words = Mapping[str, Any]
"""A message as its row keeps it: `title` and `text` for people, `envelope` for programs."""


class WayOut(Protocol):
    """A channel that is open."""

    def send(self, message_id: str, words: Words) -> None:
        """Return once the channel has taken it; raise DeliveryFailed."""

    def close(self) -> None:
        """Let go of connections."""
