"""Short keys of JSON values, for uniqueness and for mutexes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

OF_FIELDS = "#"
"""Prefix of a mutex key that is made of fields; a caller's own key has another prefix."""


def unique_key_of(value: Any) -> str:
    """Return a short key of a JSON value. Keys are equal if the values are (1 and "1" differ)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def mutex_key_of(type_name: str, fields: Sequence[str], value: Any) -> str | None:
    """Return the mutex key of an input from the values of these fields; None without fields."""
    if not fields or not isinstance(value, Mapping):
        return None
    return f"{OF_FIELDS}{type_name}#{unique_key_of({name: value.get(name) for name in fields})}"
