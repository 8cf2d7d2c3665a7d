"""When a submitted input is the expected one."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from taskdb import TaskEntity, TaskStatus
from taskdb.testing.expectation import ANYTHING, difference, matches, wanted_text

NOW = datetime(2031, 5, 1, tzinfo=UTC)
ID = UUID("01890000-0000-7000-8000-000000000000")


class Model(BaseModel):
    id: UUID


class Above:
    def __init__(self, least: int) -> None:
        self.least = least

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and other > self.least

    __hash__ = None  # type: ignore[assignment]


def entity(given: Any) -> TaskEntity:
    return TaskEntity(
        id=str(ID),
        tenant="",
        type="t",
        status=TaskStatus.CREATED,
        created_at=NOW,
        updated_at=NOW,
        inline_input=given,
    )


@pytest.mark.parametrize(
    ("given", "expected", "fits"),
    [
        ({"a": 1, "b": 2}, ANYTHING, True),
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1, "b": 2}, {}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": {"deep": 1, "more": 2}}, {"a": {"deep": 1}}, False),
        ({"a": None}, {"a": None}, True),
        ({}, {"a": None}, False),
        ([1, 2], [1, 2], True),
        ([1, 2], [1], False),
        ([1, 2], (1, 2), True),
        (None, None, True),
        ({"a": 1}, None, False),
        (None, {"a": 1}, False),
        ({"id": str(ID)}, {"id": ID}, True),
        ({"id": str(ID)}, Model(id=ID), True),
        ({"at": "2031-05-01T00:00:00Z"}, {"at": NOW}, True),
        ({"a": 5}, {"a": Above(4)}, True),
        ({"a": 4}, {"a": Above(4)}, False),
    ],
)
def test_of_a_mapping_every_member_must_be_equal_of_anything_else_the_whole(
    given: Any, expected: Any, *, fits: bool
) -> None:
    assert matches(entity(given), expected) is fits


def test_a_long_input_and_many_tasks_do_not_drown_the_message() -> None:
    said = difference("t", {"a": 1}, [], [entity({"a": "x" * 10_000})] * 100)

    assert len(said) < 5_000
    assert "0 fit, 100 differ" in said
    assert wanted_text("t", ANYTHING, 1) == "expected exactly 1 task of type 't'"
