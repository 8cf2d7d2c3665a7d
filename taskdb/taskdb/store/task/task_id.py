"""The id of a task as text."""

from __future__ import annotations

import re

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LEAST_ID = "00000000-0000-0000-0000-000000000000"
"""An id that sorts before every id of a task."""


def is_id(text: str) -> bool:
    """Return whether a text is a UUID in its usual spelling, as ids of tasks are."""
    return _ID.fullmatch(text) is not None
