"""The three spellings of a task: id, code and key."""

from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ulid import ULID

from taskdb.model.reference import Place, parse_reference

ids = st.integers(0, 2**128 - 1).map(lambda number: UUID(int=number))
tenants = st.text(max_size=20)


def code_of(task_id: UUID) -> str:
    return str(ULID.from_uuid(task_id))


@given(ids)
def test_an_id_and_its_code_name_the_same_place(task_id: UUID) -> None:
    place = Place(str(task_id))
    assert parse_reference(str(task_id)) == place
    assert parse_reference(str(task_id).upper()) == place
    assert parse_reference(code_of(task_id)) == place
    assert parse_reference(code_of(task_id).lower()) == place


@given(ids, tenants, st.text(st.characters(exclude_characters="#"), min_size=1, max_size=20))
def test_a_key_names_its_task_whatever_the_tenant_is_called(
    task_id: UUID, tenant: str, kind: str
) -> None:
    key = f"TASK#{tenant}#{kind}#{code_of(task_id)}"
    assert parse_reference(key) == Place(str(task_id), key=key)


@given(ids, tenants, st.integers(0, 10**18 - 1))
def test_the_key_of_a_sub_task_names_parent_and_position(
    parent: UUID, tenant: str, position: int
) -> None:
    key = f"SFN_TASK#{tenant}#{code_of(parent)}#{position:010d}"
    assert parse_reference(key) == Place(str(parent), position, key)


@given(st.text() | st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26))
@example("")
@example("TASK#")
@example("SFN_TASK##")
@example("8" + "Z" * 25)
@example("\N{SNOWMAN}" * 26)
@example("TASK#a#b#" + "U" * 26)
def test_any_text_is_a_place_or_none_and_never_an_error(text: str) -> None:
    place = parse_reference(text)
    assert place is None or str(UUID(place.id)) == place.id


@pytest.mark.parametrize("last", ["1" * 5_000, "-1", "\N{ARABIC-INDIC DIGIT ONE}", "1.0", "", " 1"])
def test_a_position_that_no_column_holds_is_no_place(last: str) -> None:
    assert parse_reference(f"SFN_TASK#t#{code_of(UUID(int=1))}#{last}") is None
