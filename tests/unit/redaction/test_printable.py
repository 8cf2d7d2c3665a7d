"""Text of others in one line, on a terminal, in a log and in JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb.redaction.printable import escaped, escaped_json, escaped_lines, printable

UNSAFE = [
    "\x00", "\x07", "\x08", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\u061c", "\u200e",
    "\u2028", "\u2029", "\u202e", "\u2066", "\ud800", "\U000e0041",
]  # fmt: skip


@pytest.mark.parametrize("sign", UNSAFE)
def test_no_unsafe_sign_is_left(sign: str) -> None:
    text = f"a{sign}b"
    for safe in (
        printable(text),
        escaped(text),
        escaped_json(json.dumps(text, ensure_ascii=False)),
    ):
        assert sign not in safe
        safe.encode()
    assert escaped(text).startswith("a\\")


def test_letters_of_every_language_stay() -> None:
    assert escaped("Ünïcode 語 🎉") == printable("Ünïcode 語 🎉") == "Ünïcode 語 🎉"


def test_lines_of_a_block_are_indented_and_their_returns_escaped() -> None:
    assert escaped_lines("a\nb\r2026 [info]", "  ") == "  a\n  b\\r2026 [info]"


@given(st.text(st.characters(exclude_categories=[])))
def test_escaped_json_means_the_same(text: str) -> None:
    assert json.loads(escaped_json(json.dumps(text, ensure_ascii=False))) == text
