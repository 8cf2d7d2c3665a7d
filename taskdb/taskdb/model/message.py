"""A message on its way out: of a change of status, or of an alarm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
