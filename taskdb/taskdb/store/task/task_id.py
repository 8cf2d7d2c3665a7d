"""The id of a task as text."""

from __future__ import annotations

import re

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LEAST_ID = "00000000-0000-0000-0000-000000000000"
"""Comes before every id."""


def is_id(text: str) -> bool:
    """Whether this may be the id of a task: a UUID in its usual spelling."""
    return _ID.fullmatch(text) is not None
