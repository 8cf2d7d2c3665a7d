"""The three names of a task: id, code and key."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

from ulid import ULID

_PREFIXES = ("TASK#", "SFN_TASK#")
_CODE_LENGTH = 26
_DIGITS = 18
"""Most digits of a position; every such number fits the column."""

_FOREIGN = UUID("5f0c6a0e-9f4f-5d36-8a52-6a1d2f6f1f5e")
"""The namespace of Celery ids that are not UUIDs."""


@dataclass(frozen=True, slots=True)
class Place:
    """The id of a task; with a position, the sub-task of it at that position.

    `key` is set for a reference that is a whole key, so that the caller can check the rest of it.
    """

    id: str
    position: int | None = None
    key: str | None = None


def parse_reference(reference: str) -> Place | None:
    """Return the place that an id, a code or a key names; None for any other text."""
    if reference.startswith(_PREFIXES):
        return _of_key(reference)
    found = _of_code(reference) if len(reference) == _CODE_LENGTH else _of_id(reference)
    return None if found is None else Place(found)


def adopted_id(celery_id: str) -> str:
    """Return the row id of an adopted task: Celery's id, or a UUID derived from it."""
    storable = celery_id.encode("utf-8", "replace").decode()
    return _of_id(celery_id) or str(uuid5(_FOREIGN, storable))


def _of_key(key: str) -> Place | None:
    # From the right, since a tenant may contain anything.
    front, _, last = key.rpartition("#")
    if len(last) == _CODE_LENGTH:
        found = _of_code(last)
        return None if found is None else Place(found, key=key)
    parent = _of_code(front.rpartition("#")[2])
    if parent is None or not last.isascii() or not last.isdigit() or len(last) > _DIGITS:
        return None
    return Place(parent, int(last), key)


def _of_code(code: str) -> str | None:
    try:
        return str(ULID.from_str(code.upper()).to_uuid())
    except ValueError:
        return None


def _of_id(spelled: str) -> str | None:
    try:
        return str(UUID(spelled))
    except ValueError:
        return None
