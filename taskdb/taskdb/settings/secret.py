"""The secrets of the settings, as the texts in which they could reach a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from taskdb.redaction.redaction import Redaction
from taskdb.redaction.url_mask import secrets_of_url

_WORDS = ("postgresql", "password", "rabbitmq", "localhost", "sqlalchemy")
_LEAST = 8
"""A shorter secret stands in too many words to be taken out wherever it stands."""


def secrets_of(values: Iterable[Any]) -> Iterator[str]:
    """The texts of secret values, and of URLs their passwords and tokens."""
    for value in values:
        for one in value if isinstance(value, tuple | list) else [value]:
            if isinstance(one, SecretStr):
                secret = one.get_secret_value()
                yield from secrets_of_url(secret) if "://" in secret else [secret]


def secrets_below(value: Any, redaction: Redaction) -> Iterator[str]:
    """The secrets inside a value of JSON: under the name of a secret, and in URLs."""
    yield from redaction.secrets_of(value)
    for text in _texts_below(value):
        yield from secrets_of_url(text)


def telling(secrets: Iterable[str]) -> tuple[str, ...]:
    """Those that can be looked for in any text, the longest first."""
    return tuple(sorted({one for one in secrets if _is_telling(one)}, key=len, reverse=True))


def _is_telling(secret: str) -> bool:
    # Else a database whose password is `postgres` would have no URL in a log.
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
