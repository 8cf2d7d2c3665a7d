"""Foreign text on a terminal and in a log: no character moves the cursor or starts a line."""

from __future__ import annotations

import json
import re

_UNSAFE = re.compile(
    # C0, DEL and C1; marks, overrides and isolates of the writing direction; separators of lines;
    # annotations and tags, which are invisible; halves of surrogate pairs.
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return the text in one line, with a mark in place of each unsafe character."""
    return _UNSAFE.sub(_marked, text)


def escaped(text: str) -> str:
    r"""Return the text in one line, with unsafe characters written as `\n` or `\x1b`, for a log."""
    return _UNSAFE.sub(_spelled, text)


def escaped_lines(text: str, indent: str = "") -> str:
    """Return the text with its lines, each escaped and after `indent`."""
    return "\n".join(f"{indent}{escaped(line)}" for line in text.split("\n"))


def escaped_json(document: str) -> str:
    """Return an equal JSON text, with unsafe characters of its strings as JSON escapes."""
    return _UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1], document)


def _marked(found: re.Match[str]) -> str:
    return " " if found[0] in "\t\n\r" else "\N{REPLACEMENT CHARACTER}"


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")
