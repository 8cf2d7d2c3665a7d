"""Settings of signed messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, PositiveFloat, SecretStr

_KEY_LENGTH = 32
"""Least number of characters of a key."""


def _keys(value: Any) -> Any:
    keys = [one.strip() for one in value.split(",")] if isinstance(value, str) else list(value)
    for key in keys:
        plain = key.get_secret_value() if isinstance(key, SecretStr) else key
        if not isinstance(plain, str) or len(plain) < _KEY_LENGTH:
            advice = "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            raise ValueError(f"a key has less than {_KEY_LENGTH} characters: {advice}")
    return tuple(keys)


class MessageSettings(BaseModel, defer_build=True):
    """The keys that sign messages, and what a worker does without a signature."""

    message_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(_keys)] = ()
    """Comma-separated keys that sign messages, of at least 32 characters each. The first key signs,
    every key verifies. Set the same keys for clients, workers and beats. Empty: messages are not
    signed."""
    message_unsigned: Literal["refuse", "plain", "accept"] = "refuse"
    """What a worker with keys does with a message without a signature: `refuse` refuses it, `plain`
    runs plain Celery tasks only, which are never signed, `accept` runs every message, for the time
    in which keys are rolled out."""
    message_age_seconds: PositiveFloat = 30 * 86_400.0
    """Longest age of a valid signature. A message that waited longer is published again."""
