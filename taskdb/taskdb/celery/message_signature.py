"""Signatures of messages: only a process that has a key can publish a message that workers run.

HMAC-SHA256 over the id, the type, the attempt of the row, the number of items and the time of
signing. A copy of a message cannot run the task again: the claim demands that attempt number, and
each claim changes it.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from taskdb.settings.settings import Settings

SIGNATURE_HEADER = "taskdb_signature"
_VERSION = "v1"
_SIGNATURE = re.compile(_VERSION + r" (\d{1,15}) (\d{1,15}) ([0-9a-f]{64})", re.ASCII)
"""Attempt, seconds since the epoch, and the HMAC."""


class Subject(NamedTuple):
    """The signed part of a message: id, type, and number of items (0: not a chunk)."""

    id: str
    type: str
    items: int = 0


class SignatureRefused(Exception):
    """A message has no signature, or none of our keys made it; the text has the reason."""


class MessageKeys:
    """The keys of the settings: the first one signs, every one verifies."""

    def __init__(self, keys: Sequence[str], age_seconds: float) -> None:
        self._keys = tuple(key.encode() for key in keys)
        self._age = age_seconds

    @classmethod
    def of(cls, settings: Settings) -> MessageKeys:
        """Return the keys of the settings; there may be none."""
        keys = [key.get_secret_value() for key in settings.message_keys]
        return cls(keys, settings.message_age_seconds)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def sign(self, subject: Subject, attempt: int) -> dict[str, str]:
        """Return the header that signs a message; empty without keys."""
        if not self._keys:
            return {}
        at = int(time.time())
        code = _code(self._keys[0], subject, attempt, at)
        return {SIGNATURE_HEADER: f"{_VERSION} {attempt} {at} {code}"}

    def attempt_of(self, signature: object, subject: Subject) -> int:
        """Return the attempt in a valid signature of this subject; raises SignatureRefused."""
        if signature is None:
            raise SignatureRefused("it has no signature")
        attempt, at, code = _parts(signature)
        # Trying every key hides from a timing attack which one fits.
        fits = [hmac.compare_digest(_code(key, subject, attempt, at), code) for key in self._keys]
        if not any(fits):
            raise SignatureRefused("its signature is of another key, or of another message")
        if abs(time.time() - at) > self._age:
            raise SignatureRefused("its signature is too old")
        return attempt


def _parts(signature: object) -> tuple[int, int, str]:
    found = _SIGNATURE.fullmatch(signature) if isinstance(signature, str) else None
    if found is None:
        raise SignatureRefused("its signature cannot be read")
    return int(found[1]), int(found[2]), found[3]


def _code(key: bytes, subject: Subject, attempt: int, at: int) -> str:
    text = "\n".join(
        (
            "taskdb.message",
            _VERSION,
            subject.type,
            subject.id,
            str(attempt),
            str(subject.items),
            str(at),
        )
    )
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256").hex()
