"""The criteria of lists and bulk verbs: what they mean, and what is refused."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from taskdb.client.criteria import filter_of
from taskdb.errors import InvalidInput
from taskdb.model.entity import TaskKind
from taskdb.model.status import TaskStatus
from taskdb.store.task.filter import Filter


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("failed", (TaskStatus.FAILED,)),
        (TaskStatus.FAILED, (TaskStatus.FAILED,)),
        (["FAILED", TaskStatus.HALTED], (TaskStatus.FAILED, TaskStatus.HALTED)),
        ({"canceled"}, (TaskStatus.CANCELED,)),
    ],
)
def test_a_status_may_be_one_or_several_in_any_case(
    given: Any, expected: tuple[TaskStatus, ...]
) -> None:
    assert filter_of({"status": given}).status == expected


def test_none_means_any() -> None:
    assert filter_of({"status": None, "type": None, "search": None}) == Filter()  # type: ignore[typeddict-item]


def test_an_empty_search_is_no_criterion() -> None:
    assert filter_of({"search": ""}).is_empty()


def test_moments_are_compared_in_utc() -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    found = filter_of({"created_from": moment, "kind": "FAN_OUT"})
    assert found.created_from == datetime(2026, 1, 1, 7, tzinfo=UTC)
    assert found.kind is TaskKind.FAN_OUT


def test_every_wrong_criterion_is_named_with_a_guess() -> None:
    wrong: Any = {
        "stauts": "FAILED",
        "status": "FALED",
        "kind": "TASKS",
        "role": "boss",
        "created_from": datetime(2026, 1, 1),  # noqa: DTZ001 - that is what is refused
        "created_before": "yesterday",
        "search": "nul \x00",
        "tag": "half \ud800",
        "tenant": 5,
        "attributes": [1],
    }
    with pytest.raises(InvalidInput) as caught:
        filter_of(wrong)
    faults = {fault.path: fault.message for fault in caught.value.faults}
    assert set(faults) == set(wrong)
    assert "did you mean 'status'" in faults["stauts"]
    assert "did you mean 'FAILED'" in faults["status"]
    assert "naive" in faults["created_from"]


def test_no_status_at_all_is_refused_and_does_not_mean_any() -> None:
    with pytest.raises(InvalidInput, match="names no status"):
        filter_of({"status": []})
