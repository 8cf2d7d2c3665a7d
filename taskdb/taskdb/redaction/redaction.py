"""Redaction: what is secret is taken out of values and texts before they leave.

Two kinds of rules: names of fields, and patterns. A name hides what stands under it, in JSON and
also in a text that spells it out (`password='…'`, a header, an URL's query, an option of a
command). Rather too much is hidden than too little.
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
"""Names that are always hidden; the last is how pydantic's messages spell what it refused."""

VALUE_LIMIT, TEXT_LIMIT = 16_384, 4_096
"""Characters that are left of a value and of a text, unless the caller wants more."""
DEEPEST, MOST_MEMBERS = 12, 200
CUT = "[cut]"
_READ_LIMIT = 262_144
"""Nothing behind so many characters of one text is looked at, and so none of it is told."""
_LEAST_KNOWN = 4
"""A shorter secret would be found in too many words."""
_PLAIN = (date, time, timedelta, UUID, Decimal)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NAMING, _NAMED = ("name", "key", "header"), "value"


@dataclass(frozen=True, slots=True)
class Redaction:
    """The rules that are in force; the built-in ones are always among them.

    No method raises, whatever it is given; every answer is bounded, is JSON or text, and can be
    stored and sent (no NUL character, no half of a surrogate pair).
    """

    names: NameRules
    patterns: tuple[re.Pattern[str], ...] = PATTERNS

    @classmethod
    def parse(cls, fields: Iterable[str] = (), patterns: Iterable[str] = ()) -> Redaction:
        """The rules of the settings beside the built-in ones; ValueError says what is wrong.

        A field is one or more words (`api_key` is in `apiKey` and `X-API-KEY-2`), or with a `*`
        what a name looks like without separators; one with a `!` before it is never hidden. A
        pattern hides what it finds; one with a group called `secret` only that.
        """
        names = NameRules.parse((*FIELDS, *fields))
        return cls(names, (*PATTERNS, *(compiled(pattern) for pattern in patterns)))

    def value(self, value: Any, limit: int = VALUE_LIMIT) -> Any:
        """Any value as JSON values without secrets, with about `limit` characters at most.

        What JSON has no word for is told by the name of its class.
        """
        try:
            return _Walk(self, limit).walk(value, 0)
        except Exception:  # noqa: BLE001 - an object of someone's may raise whatever it likes
            return CUT

    def text(
        self, text: Any, limit: int = TEXT_LIMIT, *, known: Iterable[str] = (), end: bool = False
    ) -> str:
        """A text without secrets, of `limit` characters at most; with `end` its end is kept.

        `known` are secrets that are to be found wherever they stand, such as `secrets_of` finds.
        """
        try:
            return _shortened(self._hidden(text, known, end=end), limit, end=end)
        except Exception:  # noqa: BLE001 - as above
            return CUT

    def secrets_of(self, value: Any) -> tuple[str, ...]:
        """The texts that stand in a value under hidden names, the longest first."""
        try:
            found = set(_texts_below(self, value, 0, is_secret=False))
        except Exception:  # noqa: BLE001 - as above
            return ()
        return tuple(sorted(found, key=len, reverse=True)[:MOST_MEMBERS])

    def _hidden(self, text: Any, known: Iterable[str], *, end: bool) -> str:
        whole = str.__str__(text) if isinstance(text, str) else str(text)
        if len(whole) > _READ_LIMIT:
            # A name that is cut off could not hide its value: the first line goes as well.
            whole = whole[-_READ_LIMIT:].partition("\n")[2] if end else whole[:_READ_LIMIT]
        for secret in known:
            whole = whole.replace(secret, HIDDEN)
        return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", hide(whole, self.names, self.patterns))


@lru_cache(maxsize=16)
def redaction_of(fields: tuple[str, ...], patterns: tuple[str, ...]) -> Redaction:
    """`Redaction.parse`, once for the same rules."""
    return Redaction.parse(fields, patterns)


class _Walk:
    """One way through a value, with what is left of its size."""

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
        # More digits than Python spells by itself would raise where the answer is written.
        return value if value.bit_length() <= 1_024 else self._text(f"<{value.bit_length()} bits>")  # noqa: PLR2004

    def _text(self, value: str) -> str:
        text = self._redaction.text(value, self._left)
        self._left -= len(text) + 2
        return text

    def _object(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        about = _named_by(value)
        for number, (key, member) in enumerate(value.items()):
            if number >= MOST_MEMBERS or self._left <= 0:
                found["…"] = f"{len(value) - number} more"
                break
            name = self._text(key if isinstance(key, str) else _described_key(key))
            is_secret = self._is_hidden(key) or (key == _NAMED and self._is_hidden(about))
            said = _hidden(member) if is_secret else self.walk(member, depth + 1)
            found[name if name not in found else f"{name} ({number})"] = said
        return found

    def _list(self, items: list[Any], depth: int) -> list[Any]:
        found: list[Any] = []
        hides_next = False
        for number, item in enumerate(items):
            if number >= MOST_MEMBERS or self._left <= 0:
                found.append(f"… {len(items) - number} more")
                break
            found.append(_hidden(item) if hides_next else self.walk(item, depth + 1))
            # A pair such as a header, or an option of a command with its value behind it.
            is_naming = number == 0 and len(items) == 2  # noqa: PLR2004 - a pair
            is_naming = is_naming or (isinstance(item, str) and item.startswith("-"))
            hides_next = is_naming and self._is_hidden(item)
        return found

    def _is_hidden(self, name: Any) -> bool:
        return isinstance(name, str) and self._redaction.names.hide(name)


def _hidden(value: Any) -> Any:
    """What is told of a secret: that there is none, or that there is one."""
    return value if value is None or isinstance(value, bool) or value in ("", [], {}) else HIDDEN


def _named_by(value: Mapping[Any, Any]) -> Any:
    """The name in an object such as `{"name": …, "value": …}`."""
    return next((value[key] for key in _NAMING if key in value), None) if _NAMED in value else None


def _texts_below(redaction: Redaction, value: Any, depth: int, *, is_secret: bool) -> Iterator[str]:
    if depth > DEEPEST:
        return
    if isinstance(value, Mapping):
        for key, member in list(value.items())[:MOST_MEMBERS]:
            hides = is_secret or (isinstance(key, str) and redaction.names.hide(key))
            yield from _texts_below(redaction, member, depth + 1, is_secret=hides)
    elif isinstance(value, list | tuple):
        for member in value[:MOST_MEMBERS]:
            yield from _texts_below(redaction, member, depth + 1, is_secret=is_secret)
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
