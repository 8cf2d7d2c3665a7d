"""Signatures of webhooks, by the public convention "Standard Webhooks".

Signed are the id, the time and the body, so that none can be exchanged and an old message cannot
be sent again: HMAC-SHA256 over `id.timestamp.body`, as `v1,<base64>`. While a secret is being
exchanged there are two signatures, and one that fits is enough.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta

from taskdb.errors import SignatureInvalid

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

_PREFIX = "whsec_"
_VERSION = "v1"
_NEW_BYTES = 32
_LEAST_BYTES, _MOST_BYTES = 24, 64
_DIGITS = 18
"""Of a timestamp: more than any has, and no more than a number may be read of."""
_TOLERANCE = timedelta(minutes=5)


def new_secret() -> str:
    """A secret that nobody has: `whsec_` and 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def secret_key(secret: str) -> bytes:
    """The key that a secret spells; raises ValueError, which does not repeat it."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        message = (
            f"a secret is {_PREFIX} and {_LEAST_BYTES} to {_MOST_BYTES} bytes in base64, for "
            f"example: echo {_PREFIX}$(openssl rand -base64 {_NEW_BYTES})"
        )
        raise ValueError(message)
    return key


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature."""
    signed = f"{message_id}.{timestamp}.".encode("utf-8", "replace") + body
    digest = hmac.new(secret_key(secret), signed, hashlib.sha256).digest()
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


def signed_headers(
    secrets_: Iterable[str], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The headers that a receiver verifies; one signature a secret."""
    signatures = [sign(secret, message_id, timestamp, body) for secret in secrets_]
    return {ID: message_id, TIMESTAMP: str(timestamp), SIGNATURE: " ".join(signatures)}


def verify_webhook(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance: timedelta = _TOLERANCE,
    now: float | None = None,
) -> str:
    """For receivers: the id of a message that is genuine and fresh; raises SignatureInvalid.

    `headers` may be spelled in any case, `body` is the raw body as it was received. Drop a message
    whose id was seen before: delivery is at least once.
    """
    named = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp = named.get(ID, ""), named.get(TIMESTAMP, "")
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _DIGITS
    if not message_id or not is_number:
        raise SignatureInvalid("the headers webhook-id and webhook-timestamp are missing or wrong")
    age = (time.time() if now is None else now) - int(timestamp)
    if abs(age) > tolerance.total_seconds():
        raise SignatureInvalid("it is too old or from the future: check the clocks")
    expected = sign(secret, message_id, int(timestamp), body).encode()
    given = named.get(SIGNATURE, "").encode("utf-8", "replace").split(b" ")
    # All are compared, and each in constant time: how long it takes tells nothing.
    if sum(hmac.compare_digest(expected, one) for one in given) == 0:
        raise SignatureInvalid("no signature fits: check the secret, and sign the raw body")
    return message_id
