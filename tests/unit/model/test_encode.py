"""JSON as the store keeps it."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb.errors import NotEncodable
from taskdb.model.json_text import decode, encode, storable

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(TEXT, parts, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_what_is_json_comes_back_as_it_was(value: Any) -> None:
    assert decode(encode(value, "the input")) == value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        {"a": [1, {"b": math.nan}]},
        {1, 2},
        {"a": {1}},
        object(),
        b"bytes",
        Decimal(1),
        datetime(2026, 1, 1, tzinfo=UTC),
        {(1, 2): "tuple key"},
        pytest.param(10**5000, id="a number too long to print"),
        "half a pair \ud83d",
        {"\udc00": 1},
        "nul \x00 character",
        {"nul \x00 key": 1},
    ],
)
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(NotEncodable, match=r"^the result "):
        encode(value, "the result")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"rows": [{"ok": 1}, {"bad": {1}}]}, "rows.1.bad"),
        ({"rows": [{"ok": 1}, {"bad": "\x00"}]}, "rows.1.bad"),
        ([0, "\ud83d"], "1"),
        ({"a": {"b": math.nan}}, "a.b"),
    ],
)
def test_the_message_says_where_the_fault_is(value: Any, place: str) -> None:
    with pytest.raises(NotEncodable, match=f" at {place}[:,]"):
        encode(value, "the result")


def test_text_that_only_looks_like_a_nul_is_kept() -> None:
    assert decode(encode(r"a\u0000b", "the input")) == r"a\u0000b"


def test_what_contains_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append({"again": ring})
    with pytest.raises(NotEncodable):
        encode(ring, "the input")


def nested(depth: int, core: Any) -> Any:
    value = core
    for _ in range(depth):
        value = [value]
    return value


def test_what_is_nested_without_end_is_refused() -> None:
    with pytest.raises(NotEncodable, match="nested too deeply"):
        encode(nested(100_000, 1), "the input")


@pytest.mark.parametrize("core", ["\x00", math.nan, "\ud83d"])
def test_a_fault_far_down_is_found(core: Any) -> None:
    with pytest.raises(NotEncodable):
        encode(nested(700, core), "the input")


def test_keys_that_are_numbers_become_text_as_in_all_json() -> None:
    assert decode(encode({2: "a", None: "b", True: "c"}, "the input")) == {
        "2": "a",
        "null": "b",
        "true": "c",
    }


@given(st.text())
def test_any_text_can_be_made_storable(text: str) -> None:
    assert decode(encode(storable(text), "the message")) == storable(text)


@given(st.text(), st.integers(10, 50))
def test_long_text_keeps_its_two_ends(text: str, limit: int) -> None:
    kept = storable(text * 20, limit)
    clean = storable(text * 20)
    assert kept.startswith(clean[: limit // 2])
    assert kept.endswith(clean[-(limit // 2) :] if clean else "")
    assert len(kept) <= limit + 50
