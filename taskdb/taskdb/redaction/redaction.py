"""Redaction: removes secrets from values and texts before they leave.

There are two kinds of rules: names of fields, and patterns. A name hides its value, in JSON and in
text that contains the name (`password='…'`, a header, the query of a URL, an option of a command).
In doubt a value is hidden.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any
from uuid import UUID

from taskdb.redaction.sensitive_name import NameRules
from taskdb.redaction.sensitive_text import HIDDEN, PATTERNS, compiled, hide, is_card_number

FIELDS = (
    "*password*", "*passwd*", "*passphrase*", "pwd", "*secret*", "*token", "token", "auth",
    "authorization", "bearer", "*apikey*", "*accesskey*", "*privatekey*", "*credential*",
    "*cookie*", "session_id", "sessionid", "csrf", "signature", "otp", "pin", "cvv", "cvc",
    "card_number", "cardnumber", "ssn", "input_value",
)  # fmt: skip
"""Names that are always hidden; the last is the name of a refused value in pydantic's messages."""

VALUE_LIMIT, TEXT_LIMIT = 16_384, 4_096
"""Characters that are kept of a value and of a text by default."""
DEEPEST, MOST_ITEMS = 12, 200
CUT = "[cut]"
_READ_LIMIT = 262_144
"""Characters of a text that are read; the rest is not shown."""
_LEAST_KNOWN = 4
"""A shorter secret would match in too many words."""
_PLAIN = (date, time, timedelta, UUID, Decimal)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NAMING, _NAMED = ("name", "key", "header"), "value"


@dataclass(frozen=True, slots=True)
class Redaction:
    """The rules in force; the built-in ones are always among them.

    `value`, `text` and `secrets_of` never raise. Every result is bounded, is JSON or text, and can
    be stored and sent (no NUL character, no half of a surrogate pair).
    """

    names: NameRules
    patterns: tuple[re.Pattern[str], ...] = PATTERNS

    @classmethod
    def parse(cls, fields: Iterable[str] = (), patterns: Iterable[str] = ()) -> Redaction:
        """Return the rules of the settings beside the built-in ones. Raises ValueError.

        A field is one or more words (`api_key` matches `apiKey` and `X-API-KEY-2`), or a pattern
        with `*` for a name without its separators; a field with `!` before it is never hidden. A
        pattern hides its whole match, or only its group named `secret`.
        """
        names = NameRules.parse((*FIELDS, *fields))
        return cls(names, (*PATTERNS, *(compiled(pattern) for pattern in patterns)))

    def value(self, value: Any, limit: int = VALUE_LIMIT) -> Any:
        """Return any value as JSON values without secrets, at most about `limit` characters.

        A value without a JSON form is replaced by the name of its class.
        """
        try:
            return _Walk(self, limit).walk(value, 0)
        except Exception:  # noqa: BLE001 - a foreign object may raise any error
            return CUT

    def text(
        self, text: Any, limit: int = TEXT_LIMIT, *, known: Iterable[str] = (), end: bool = False
    ) -> str:
        """Return a text without secrets, at most `limit` characters; `end` keeps the end instead.

        `known` are secrets that are hidden everywhere, such as those that `secrets_of` returns.
        """
        try:
            return _shortened(self._hidden(text, known, end=end), limit, end=end)
        except Exception:  # noqa: BLE001 - as above
            return CUT

    def secrets_of(self, value: Any) -> tuple[str, ...]:
        """Return the texts in a value under hidden names, the longest first."""
        try:
            found = set(_texts_below(self, value, 0, is_secret=False))
        except Exception:  # noqa: BLE001 - as above
            return ()
        return tuple(sorted(found, key=len, reverse=True)[:MOST_ITEMS])

    def _hidden(self, text: Any, known: Iterable[str], *, end: bool) -> str:
        whole = str.__str__(text) if isinstance(text, str) else str(text)
        if len(whole) > _READ_LIMIT:
            # A name that is cut off could not hide its value, so the first line is removed.
            whole = whole[-_READ_LIMIT:].partition("\n")[2] if end else whole[:_READ_LIMIT]
        for secret in known:
            whole = whole.replace(secret, HIDDEN)
        return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", hide(whole, self.names, self.patterns))


@lru_cache(maxsize=16)
def redaction_of(fields: tuple[str, ...], patterns: tuple[str, ...]) -> Redaction:
    """Return `Redaction.parse`, cached for the same rules."""
    return Redaction.parse(fields, patterns)


class _Walk:
    """One walk through a value, with the remaining size."""

    def __init__(self, redaction: Redaction, limit: int) -> None:
        self._redaction = redaction
        self._left = limit

    def walk(self, value: Any, depth: int) -> Any:
        if depth > DEEPEST or self._left <= 0:
            return CUT
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, Mapping):
            return self._object(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._list(list(value), depth)
        if value is None or isinstance(value, bool | int | float):
            return self._number(value)
        is_plain = isinstance(value, (str, *_PLAIN))
        return self._text(str(value) if is_plain else _described(value))

    def _number(self, value: Any) -> Any:
        self._left -= 8
        if isinstance(value, float) and not math.isfinite(value):
            return str(float(value))
        if type(value) is int and is_card_number(str(value) if abs(value) < 10**20 else ""):
            return HIDDEN
        return value if value is None or isinstance(value, bool | float) else self._whole(value)

    def _whole(self, value: int) -> Any:
        # Python refuses to write integers with too many digits.
        return value if value.bit_length() <= 1_024 else self._text(f"<{value.bit_length()} bits>")  # noqa: PLR2004

    def _text(self, value: str) -> str:
        text = self._redaction.text(value, self._left)
        self._left -= len(text) + 2
        return text

    def _object(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        about = _named_by(value)
        for number, (key, item) in enumerate(value.items()):
            if number >= MOST_ITEMS or self._left <= 0:
                found["…"] = f"{len(value) - number} more"
                break
            name = self._text(key if isinstance(key, str) else _described_key(key))
            is_secret = self._is_hidden(key) or (key == _NAMED and self._is_hidden(about))
            said = _hidden(item) if is_secret else self.walk(item, depth + 1)
            found[name if name not in found else f"{name} ({number})"] = said
        return found

    def _list(self, items: list[Any], depth: int) -> list[Any]:
        found: list[Any] = []
        hides_next = False
        for number, item in enumerate(items):
            if number >= MOST_ITEMS or self._left <= 0:
                found.append(f"… {len(items) - number} more")
                break
            found.append(_hidden(item) if hides_next else self.walk(item, depth + 1))
            # A pair such as a header, or an option of a command with its value.
            is_naming = number == 0 and len(items) == 2  # noqa: PLR2004 - a pair
            is_naming = is_naming or (isinstance(item, str) and item.startswith("-"))
            hides_next = is_naming and self._is_hidden(item)
        return found

    def _is_hidden(self, name: Any) -> bool:
        return isinstance(name, str) and self._redaction.names.hide(name)


def _hidden(value: Any) -> Any:
    """Return the mark of a secret, or the empty value itself."""
    return value if value is None or isinstance(value, bool) or value in ("", [], {}) else HIDDEN


def _named_by(value: Mapping[Any, Any]) -> Any:
    """Return the name in an object such as `{"name": …, "value": …}`."""
    return next((value[key] for key in _NAMING if key in value), None) if _NAMED in value else None


def _texts_below(redaction: Redaction, value: Any, depth: int, *, is_secret: bool) -> Iterator[str]:
    if depth > DEEPEST:
        return
    if isinstance(value, Mapping):
        for key, item in list(value.items())[:MOST_ITEMS]:
            hides = is_secret or (isinstance(key, str) and redaction.names.hide(key))
            yield from _texts_below(redaction, item, depth + 1, is_secret=hides)
    elif isinstance(value, list | tuple):
        for item in value[:MOST_ITEMS]:
            yield from _texts_below(redaction, item, depth + 1, is_secret=is_secret)
    elif is_secret and isinstance(value, str | int) and not isinstance(value, bool):
        text = str(value)
        if _LEAST_KNOWN <= len(text) <= TEXT_LIMIT:
            yield text


def _described(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _described_key(key: Any) -> str:
    plain = key is None or isinstance(key, bool | int | float | UUID | date)
    return str(key) if plain else _described(key)


def _shortened(text: str, limit: int, *, end: bool) -> str:
    if len(text) <= limit:
        return text
    mark = f"… ({len(text) - limit} characters left out)"
    room = limit - len(mark)
    if room <= 0:
        return CUT[:limit]
    return f"{mark}{text[-room:]}" if end else f"{text[:room]}{mark}"
