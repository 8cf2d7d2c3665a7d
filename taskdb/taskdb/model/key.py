"""Short keys of JSON values: what is unique, and what excludes each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

OF_FIELDS = "#"
"""Begins a mutex key that is made of fields; one that a caller gives begins otherwise."""


def unique_key_of(value: Any) -> str:
    """A short key of a JSON value: equal exactly when the values are (1 and "1" differ)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def mutex_key_of(type_name: str, fields: Sequence[str], value: Any) -> str | None:
    """The mutex key of an input by the values of these fields; None without fields."""
    if not fields or not isinstance(value, Mapping):
        return None
    return f"{OF_FIELDS}{type_name}#{unique_key_of({name: value.get(name) for name in fields})}"
