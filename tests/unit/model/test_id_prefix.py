"""The beginning of an id or a code is the range of all ids that begin so."""

from uuid import UUID

import pytest
from ulid import ULID

from taskdb.model.id_prefix import id_ranges

ID = "01a22ed1-d481-74ac-af70-423678e24023"
CODE = str(ULID.from_uuid(UUID(ID)))


@pytest.mark.parametrize("length", range(6, 36))
def test_an_id_lies_in_the_range_of_each_of_its_beginnings(length: int) -> None:
    assert any(first <= ID <= last for first, last in id_ranges(ID[:length]))
    assert any(first <= ID <= last for first, last in id_ranges(ID[:length].upper()))
    assert not any(first <= ID <= last for first, last in id_ranges(f"f{ID[1:length]}"))


@pytest.mark.parametrize("length", range(6, 26))
def test_an_id_lies_in_the_range_of_each_beginning_of_its_code(length: int) -> None:
    assert any(first <= ID <= last for first, last in id_ranges(CODE[:length]))
    assert any(first <= ID <= last for first, last in id_ranges(CODE[:length].lower()))


def test_the_range_of_a_code_ends_where_the_next_one_begins() -> None:
    (*_, (_, last)), ((first, _), *_) = id_ranges("01M8QD"), id_ranges("01M8QE")
    assert int(first.replace("-", ""), 16) == int(last.replace("-", ""), 16) + 1


@pytest.mark.parametrize(
    "text", ["", "01a22", ID, CODE, "TASK#a", "nightly report", "-----", "zzzzzz"]
)
def test_other_texts_are_no_beginning(text: str) -> None:
    assert id_ranges(text) == []
