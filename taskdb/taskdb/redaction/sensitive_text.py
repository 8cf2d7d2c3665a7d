"""Finds secrets in text: after a name, or by their form."""

from __future__ import annotations

import re
from collections.abc import Iterable

from taskdb.redaction.sensitive_name import NameRules
from taskdb.redaction.url_mask import mask_urls

HIDDEN = "[redacted]"

# A name with the characters around it in Python, JSON (also inside a string of JSON), messages of
# SQL, headers, URLs and commands; possessive, so that no text makes it slow.
_NAMED = re.compile(
    r"(?<![\w.])(?P<option>--?)?(?P<name>[^\W\d][\w.\-]*+)[\\\"')\]]{0,4}"
    r"(?:[ \t]{0,4}(?:=>|[:=])[ \t]{0,4}|(?(option)[ \t]+|(?!)))"
)
_QUOTE = re.compile(r"(?:[bBrRuUfF]{1,2})?(\\*[\"'])")
_BARE = re.compile(r"(?:[^\s,;&)}\]\"'<>]|,(?=\S))*")
_LINE = re.compile(r"[^\r\n]*")
_HEADERS = ("authorization", "cookie")
"""Headers whose values have spaces and all kinds of characters."""
_NO_NAME = re.compile(
    r"(?:error|exception|warning|expired|invalid|missing|exist|found)\Z", re.IGNORECASE
)
"""The name of an error class before its message is not a field."""
_OPENING = {"(": ")", "[": "]", "{": "}"}
_MOST_BRACKETED = 4_096

_CARD = re.compile(r"(?<![\w.])(?:[0-9][ -]?){12,18}[0-9](?![\w])")
_CARD_NUMBER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3[0689]\d{12}|35\d{14}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12,15}",
    re.ASCII,
)


def compiled(pattern: str) -> re.Pattern[str]:
    """Return the compiled pattern of a setting. Raises ValueError."""
    try:
        found = re.compile(pattern)
        is_empty = found.search("") is not None
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    if is_empty:
        raise ValueError(f"{pattern!r} matches the empty text: make it need at least one character")
    return found


PATTERNS = (
    re.compile(r"\b(?:Bearer|Basic|Digest)[ ]+(?P<secret>[\w.~+/=\-]{8,})", re.IGNORECASE),
    # JSON Web Token
    re.compile(r"\beyJ[\w\-]{6,}+\.[\w\-]*+(?:\.[\w\-]*+)?"),
    # PEM, also without its end
    re.compile(
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
        re.DOTALL,
    ),
    # keys with a known prefix: AWS, GitHub, GitLab, Slack, Stripe, Google, ours
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"\b(?:gh[oprsu]_|github_pat_|glpat-|xox[abeoprs]-)[\w\-]{10,}"),
    re.compile(r"\b[rs]k_(?:live|test)_\w{8,}"),
    re.compile(r"\bAIza[\w\-]{30,}"),
    re.compile(r"\bcb_[\w\-]{40,}"),
)
"""Secrets with a known form. Card numbers are found separately, by their check digit."""


def hide(text: str, names: NameRules, patterns: Iterable[re.Pattern[str]]) -> str:
    """Return the text without values after names of secrets, and texts with the form of one."""
    text = mask_urls(text, HIDDEN)
    for pattern in patterns:
        text = pattern.sub(_hidden_part, text)
    text = _CARD.sub(_hidden_card, text)
    return _hide_named(text, names)


def is_card_number(digits: str) -> bool:
    """Return whether digits have the prefix and the check digit of a card number."""
    if not _CARD_NUMBER.fullmatch(digits):
        return False
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    plain = sum(int(digit) for digit in digits[-1::-2])
    return (plain + sum(number - 9 if number > 9 else number for number in doubled)) % 10 == 0  # noqa: PLR2004


def _hidden_part(found: re.Match[str]) -> str:
    if "secret" not in found.re.groupindex:
        return HIDDEN
    begin, end = found.span("secret")
    if begin < 0:
        return found[0]
    at = found.start()
    return f"{found[0][: begin - at]}{HIDDEN}{found[0][end - at :]}"


def _hidden_card(found: re.Match[str]) -> str:
    digits = found[0].replace(" ", "").replace("-", "")
    return HIDDEN if is_card_number(digits) else found[0]


def _hide_named(text: str, names: NameRules) -> str:
    parts = []
    copied = 0
    for found in _NAMED.finditer(text):
        name, at = found["name"], found.end()
        # Inside a hidden text, or not a field.
        if found.start() < copied or _NO_NAME.search(name) or not names.hide(name):
            continue
        begin, end = _value_span(text, at, name)
        if end > begin:
            parts += [text[copied:begin], HIDDEN]
            copied = end
    parts.append(text[copied:])
    return "".join(parts)


def _value_span(text: str, at: int, name: str) -> tuple[int, int]:
    """Return begin and end of the value after a name; a value without an end takes the rest."""
    quoted = _QUOTE.match(text, at)
    if quoted:
        return quoted.end(), _end_of_quote(text, quoted.end(), quoted[1])
    if text[at : at + 1] in _OPENING and not text.startswith(HIDDEN, at):
        return at, _end_of_bracket(text, at)
    is_header = any(header in name.casefold() for header in _HEADERS)
    found = (_LINE if is_header else _BARE).match(text, at)
    return at, found.end() if found else at


def _end_of_quote(text: str, at: int, quote: str) -> int:
    while True:
        end = text.find(quote, at)
        if end < 0:
            return len(text)
        escapes = len(text[at:end]) - len(text[at:end].rstrip("\\"))
        if len(quote) > 1 or escapes % 2 == 0:
            return end
        at = end + 1


def _end_of_bracket(text: str, at: int) -> int:
    closing: list[str] = []
    last = min(len(text), at + _MOST_BRACKETED)
    while at < last:
        sign = text[at]
        if sign in "\"'":
            at = _end_of_quote(text, at + 1, sign)
        elif sign in _OPENING:
            closing.append(_OPENING[sign])
        elif sign == closing[-1]:
            closing.pop()
            if not closing:
                return at + 1
        at += 1
    return len(text)
