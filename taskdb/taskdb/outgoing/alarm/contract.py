"""The interface of an open channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Words = Mapping[str, Any]
"""A message as its row stores it: `title` and `text` for people, `envelope` for programs."""


class WayOut(Protocol):
    """An open channel."""

    def send(self, message_id: str, words: Words) -> None:
        """Return once the channel has taken the message; raises DeliveryFailed."""

    def close(self) -> None:
        """Close the connections."""
