"""The secrets of the settings, as texts that are removed from logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from taskdb.redaction.redaction import Redaction
from taskdb.redaction.url_mask import secrets_of_url

_WORDS = ("postgresql", "password", "rabbitmq", "localhost", "sqlalchemy")
_LEAST = 8
"""A shorter secret is part of too many words to remove it everywhere."""


def secrets_of(values: Iterable[Any]) -> Iterator[str]:
    """Yield the texts of secret values, and the passwords and tokens of URLs."""
    for value in values:
        for one in value if isinstance(value, tuple | list) else [value]:
            if isinstance(one, SecretStr):
                secret = one.get_secret_value()
                yield from secrets_of_url(secret) if "://" in secret else [secret]


def secrets_below(value: Any, redaction: Redaction) -> Iterator[str]:
    """Yield the secrets inside a value of JSON: under names of secrets, and in URLs."""
    yield from redaction.secrets_of(value)
    for text in _texts_below(value):
        yield from secrets_of_url(text)


def removable(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return the secrets that can be removed from any text, the longest first."""
    return tuple(sorted({one for one in secrets if _is_removable(one)}, key=len, reverse=True))


def _is_removable(secret: str) -> bool:
    # Otherwise a database with the password `postgres` would have no URL in a log.
    return len(secret) >= _LEAST and not any(secret in word for word in _WORDS)


def _texts_below(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts_below(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts_below(one)
