"""A task as a value: its keys, its code, its immutability."""

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from taskdb.model.entity import TaskEntity, TaskError, TaskKind
from taskdb.model.status import TaskStatus

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ID = "01936e4b-7c00-7000-8000-0123456789ab"
PARENT = "01936e4b-7bff-7000-8000-0123456789ab"
ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))


def entity(**values: Any) -> TaskEntity:
    given = {
        "id": ID,
        "tenant": "acme",
        "type": "customers.import",
        "status": TaskStatus.CREATED,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return TaskEntity(**{**given, **values})


@given(st.uuids())
def test_the_code_spells_the_same_bits_as_the_id(number: UUID) -> None:
    task = entity(id=str(number))
    assert len(task.code) == 26
    assert ULID.from_str(task.code).to_uuid() == number


@given(st.uuids(), st.uuids())
def test_codes_sort_as_ids_do(one: UUID, other: UUID) -> None:
    codes = entity(id=str(one)).code, entity(id=str(other)).code
    assert (codes[0] < codes[1]) == (one.int < other.int)


def test_a_task_has_the_keys_of_the_table_it_came_from() -> None:
    task = entity()
    assert task.pk == "TASK#acme"
    assert task.sk == f"customers.import#{task.code}"
    assert task.key == f"TASK#acme#customers.import#{task.code}"


@pytest.mark.parametrize("kind", [TaskKind.FAN_OUT, TaskKind.SEQUENCE])
def test_a_task_of_several_parts_has_a_partition_of_its_own(kind: TaskKind) -> None:
    assert entity(kind=kind).pk == "SFN_TASK#acme"


def test_a_sub_task_is_sorted_below_its_parent() -> None:
    parent = entity(id=PARENT, kind=TaskKind.FAN_OUT)
    part = entity(parent_id=PARENT, position=2)
    assert part.pk == parent.pk
    assert part.sk.split("#")[0] == parent.code


@given(st.integers(0, 10**10 - 1), st.integers(0, 10**10 - 1))
def test_sub_tasks_sort_by_number(one: int, other: int) -> None:
    keys = [entity(parent_id=PARENT, position=place).sk for place in (one, other)]
    assert (keys[0] < keys[1]) == (one < other)


def test_the_second_part_comes_before_the_tenth() -> None:
    assert entity(parent_id=PARENT, position=2).key < entity(parent_id=PARENT, position=10).key


@given(ANY_TEXT, ANY_TEXT)
def test_any_tenant_and_name_may_be_in_a_key(tenant: str, name: str) -> None:
    task = entity(tenant=tenant, name=name)
    assert task.pk == f"TASK#{tenant}"
    assert task.key.endswith(f"#{task.code}")
    assert task.name == name


def test_an_entity_cannot_be_changed() -> None:
    task = entity()
    with pytest.raises(FrozenInstanceError):
        task.status = TaskStatus.COMPLETED  # type: ignore[misc]
    assert replace(task, attempt=2) != task


def test_input_and_result_are_not_shown_with_the_entity() -> None:
    shown = repr(entity(inline_input={"password": "hunter2"}, inline_result="hunter2"))
    assert "hunter2" not in shown


def test_a_spared_run_uses_no_budget() -> None:
    assert entity(attempt=5, spared=2).attempts_used == 3


class Reader:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def read_payload(self, reference: str, side: str) -> Any:
        self.asked.append((reference, side))
        return f"its {side}"


def test_a_large_payload_is_read_by_task_and_side() -> None:
    reader = Reader()
    large = entity(input_ref="a.json", result_ref="b.json", reader=reader)
    assert (large.input, large.result) == ("its input", "its result")
    assert reader.asked == [(large.id, "input"), (large.id, "result")]


def test_an_entity_of_nobody_cannot_read() -> None:
    with pytest.raises(RuntimeError, match=r"TaskDB\.get_task"):
        entity().refresh()
    with pytest.raises(RuntimeError, match=r"TaskDB\.get_task"):
        _ = entity(input_ref="2026-01-02/large.json").input


@given(st.builds(TaskError, ANY_TEXT, ANY_TEXT, ANY_TEXT, st.integers(0, 10**6)))
def test_an_error_survives_its_column(error: TaskError) -> None:
    assert TaskError.from_json(error.as_json()) == error


def test_an_error_written_by_an_older_release_can_be_read() -> None:
    assert TaskError.from_json({"message": "no"}) == TaskError("", "no", "", 0)
