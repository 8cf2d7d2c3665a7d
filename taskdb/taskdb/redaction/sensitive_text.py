"""Finds secrets in running text: behind a name, or by what they look like."""

from __future__ import annotations

import re
from collections.abc import Iterable

from taskdb.redaction.sensitive_name import NameRules
from taskdb.redaction.url_mask import mask_urls

HIDDEN = "[redacted]"

# A name with what may stand around it in Python, JSON (also inside a text of JSON), SQL's messages,
# headers, URLs and commands; possessive, so that no text makes it slow.
_NAMED = re.compile(
    r"(?<![\w.])(?P<option>--?)?(?P<name>[^\W\d][\w.\-]*+)[\\\"')\]]{0,4}"
    r"(?:[ \t]{0,4}(?:=>|[:=])[ \t]{0,4}|(?(option)[ \t]+|(?!)))"
)
_QUOTE = re.compile(r"(?:[bBrRuUfF]{1,2})?(\\*[\"'])")
_BARE = re.compile(r"(?:[^\s,;&)}\]\"'<>]|,(?=\S))*")
_LINE = re.compile(r"[^\r\n]*")
_HEADERS = ("authorization", "cookie")
"""What stands in a header has spaces and signs of every kind."""
_NO_NAME = re.compile(
    r"(?:error|exception|warning|expired|invalid|missing|exist|found)\Z", re.IGNORECASE
)
"""A class of errors with its message behind it is no field with its value."""
_OPENING = {"(": ")", "[": "]", "{": "}"}
_MOST_BRACKETED = 4_096

_CARD = re.compile(r"(?<![\w.])(?:[0-9][ -]?){12,18}[0-9](?![\w])")
_CARD_NUMBER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3[0689]\d{12}|35\d{14}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12,15}",
    re.ASCII,
)


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of the settings; ValueError says what is wrong with it."""
    try:
        found = re.compile(pattern)
        is_empty = found.search("") is not None
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        message = f"{pattern!r} is no regular expression: {error}"
        raise ValueError(message) from None
    if is_empty:
        message = f"{pattern!r} finds a secret in nothing: let it need at least one character"
        raise ValueError(message)
    return found


PATTERNS = (
    re.compile(r"\b(?:Bearer|Basic|Digest)[ ]+(?P<secret>[\w.~+/=\-]{8,})", re.IGNORECASE),
    # JSON Web Token
    re.compile(r"\beyJ[\w\-]{6,}+\.[\w\-]*+(?:\.[\w\-]*+)?"),
    # PEM, also where its end is cut off
    re.compile(
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
        re.DOTALL,
    ),
    # keys that say of themselves what they are: AWS, GitHub, GitLab, Slack, Stripe, Google, ours
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"\b(?:gh[oprsu]_|github_pat_|glpat-|xox[abeoprs]-)[\w\-]{10,}"),
    re.compile(r"\b[rs]k_(?:live|test)_\w{8,}"),
    re.compile(r"\bAIza[\w\-]{30,}"),
    re.compile(r"\bcb_[\w\-]{40,}"),
)
"""Secrets that can be told by their looks; card numbers are found apart, by their check digit."""


def hide(text: str, names: NameRules, patterns: Iterable[re.Pattern[str]]) -> str:
    """The text without what stands behind a secret's name, and what looks like one."""
    text = mask_urls(text, HIDDEN)
    for pattern in patterns:
        text = pattern.sub(_hidden_part, text)
    text = _CARD.sub(_hidden_card, text)
    return _hide_named(text, names)


def is_card_number(digits: str) -> bool:
    """Whether digits begin as a card's number does, and have its check digit at their end."""
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
    told = 0
    for found in _NAMED.finditer(text):
        name, at = found["name"], found.end()
        # Inside of what has been hidden; or no field.
        if found.start() < told or _NO_NAME.search(name) or not names.hide(name):
            continue
        begin, end = _value_span(text, at, name)
        if end > begin:
            parts += [text[told:begin], HIDDEN]
            told = end
    parts.append(text[told:])
    return "".join(parts)


def _value_span(text: str, at: int, name: str) -> tuple[int, int]:
    """From where to where the value behind a name goes; what has no end goes to the last."""
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
