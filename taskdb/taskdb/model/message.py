"""An outgoing message: a notification of a change of status, or an alarm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """One outgoing envelope, the same for every transport."""

    id: str
    """Equal at every attempt to send it, so that a receiver can drop duplicates."""
    envelope: Mapping[str, Any]
    tenant: str = ""
    type: str = ""
    task_id: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Short texts that a topic can filter by: `action`, `status`, `severity`, …"""
    title: str = ""
    """One line for people."""
    text: str = ""
    """Some lines for people; the title and the text are empty where no person is a receiver."""

    @property
    def body(self) -> bytes:
        """Return the envelope as it is sent and signed: JSON in UTF-8."""
        text = json.dumps(self.envelope, ensure_ascii=False, separators=(",", ":"))
        # Half of a surrogate pair has no UTF-8; its escape is JSON that every reader accepts.
        return text.encode("utf-8", "backslashreplace")
