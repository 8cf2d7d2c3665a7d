"""Signatures of webhooks, by the public convention "Standard Webhooks".

The signature covers the id, the time and the body, so that no part can be exchanged and an old
message cannot be replayed: HMAC-SHA256 over `id.timestamp.body`, as `v1,<base64>`. During an
exchange of secrets there are two signatures, and one valid signature is enough.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

_PREFIX = "whsec_"
_VERSION = "v1"
_NEW_BYTES = 32
_LEAST_BYTES, _MOST_BYTES = 24, 64
_MAY_BE_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,255}")
_MAY_BE_TIMESTAMP = re.compile(r"[0-9]{1,18}")
_MOST_CHARACTERS = 4_096
"""Longest header of signatures: each signature costs a comparison."""
_TOLERANCE = timedelta(minutes=5)


def new_secret() -> str:
    """Return a new secret: `whsec_` and 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def secret_key(secret: str) -> bytes:
    """Return the key of a secret; raises ValueError without the secret in its text."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise ValueError(
            f"a secret is {_PREFIX} and {_LEAST_BYTES} to {_MOST_BYTES} bytes in base64, for "
            f"example: echo {_PREFIX}$(openssl rand -base64 {_NEW_BYTES})"
        )
    return key


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return one signature; raises ValueError for an invalid secret."""
    return _signature(secret_key(secret), message_id, timestamp, body)


def signed_headers(
    secrets_: Iterable[str], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return the headers that a receiver verifies, with one signature for each secret."""
    signatures = [sign(secret, message_id, timestamp, body) for secret in secrets_]
    return {ID: message_id, TIMESTAMP: str(timestamp), SIGNATURE: " ".join(signatures)}


def verify_webhook(
    secret: str | Iterable[str],
    headers: Mapping[str, str],
    body: bytes | str,
    *,
    tolerance: timedelta = _TOLERANCE,
    now: float | None = None,
) -> bool:
    """Check for a receiver that a message is genuine and its timestamp within the tolerance.

    `secret` may be several, while the receiver exchanges one. Header names may have any
    case; `body` is the raw body as it was received. No value of headers or body raises an error.
    Drop a message whose `webhook-id` was seen before: delivery is at least once. Raises
    ValueError for an invalid `secret`.
    """
    keys = [secret_key(one) for one in ([secret] if isinstance(secret, str) else secret)]
    named = _texts(headers)
    message_id, timestamp = named.get(ID, ""), named.get(TIMESTAMP, "")
    given = named.get(SIGNATURE, "")
    raw = _raw(body)
    if raw is None or not may_be_id(message_id) or not _MAY_BE_TIMESTAMP.fullmatch(timestamp):
        return False
    if len(given) > _MOST_CHARACTERS or not given.isascii():
        return False
    age = (time.time() if now is None else now) - int(timestamp)
    if abs(age) > tolerance.total_seconds():
        return False
    expected = [_signature(key, message_id, int(timestamp), raw) for key in keys]
    # Every pair is compared in constant time, so that the duration reveals nothing.
    fits = [hmac.compare_digest(one, other) for one in expected for other in given.split(" ")]
    return any(fits)


def may_be_id(message_id: str) -> bool:
    """Whether a text can be the id of a message: visible ASCII in a header.

    A dot is not allowed, since dots separate the signed parts.
    """
    return _MAY_BE_ID.fullmatch(message_id) is not None


def _signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


def _texts(headers: Any) -> dict[str, str]:
    """Return headers by lower-case name; decodes bytes and leaves out other values."""
    try:
        pairs = dict(headers).items()
    except (TypeError, ValueError):
        return {}
    found = {}
    for pair in pairs:
        name, value = (one.decode("latin-1") if isinstance(one, bytes) else one for one in pair)
        if isinstance(name, str) and isinstance(value, str):
            found[name.lower()] = value
    return found


def _raw(body: Any) -> bytes | None:
    """Return the bytes of a body; None for a value without bytes."""
    try:
        return body.encode() if isinstance(body, str) else bytes(memoryview(body))
    except (UnicodeEncodeError, TypeError):
        return None
