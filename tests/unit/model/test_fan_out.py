"""How a fan-out may be joined, and what its policy says of counts."""

from datetime import timedelta
from typing import Any

import pytest

from taskdb.model.fan_out import Counts, FanOut, FanOutSpec, HandlerSpec, seconds_of
from taskdb.model.status import TaskStatus

S = TaskStatus


def counts(good: int, bad: int, still: int = 0) -> Counts:
    return Counts({S.COMPLETED: good, S.FAILED: bad, S.STARTED: still})


@pytest.mark.parametrize(
    ("given", "path", "said"),
    [
        ({"join": "all_suceeded"}, "join", "did you mean 'all_succeeded'"),
        ({"tolerate": -1}, "tolerate", "neither a number of parts nor a share"),
        ({"tolerate": 1.0}, "tolerate", "neither"),
        ({"tolerate": True}, "tolerate", "neither"),
        ({"tolerate": float("nan")}, "tolerate", "neither"),
        ({"tolerate": 1, "join": "all_settled"}, "tolerate", "tolerates every end"),
        ({"max_concurrency": 0}, "max_concurrency", "1 or more"),
        ({"max_concurrency": 1.5}, "max_concurrency", "1 or more"),
        ({"chunk_size": 0}, "chunk_size", "from 1 to 1,000"),
        ({"chunk_size": 1_001}, "chunk_size", "from 1 to 1,000"),
        ({"chunk_size": 2, "max_concurrency": 2}, "chunk_size", "leave max_concurrency out"),
        ({"timeout": 0}, "timeout", "not a duration above zero"),
        ({"timeout": "1h"}, "timeout", "not a duration above zero"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], path: str, said: str) -> None:
    (fault,) = FanOut(**given).faults()
    assert fault.path == path
    assert said in fault.message


@pytest.mark.parametrize("tolerate", [None, 0, 3, 0.0, 0.5, 0.999])
def test_a_tolerance_is_a_number_of_parts_or_a_share(tolerate: float | None) -> None:
    assert FanOut(tolerate=tolerate).faults() == []


@pytest.mark.parametrize(
    ("tolerate", "total", "allowed"),
    [
        (None, 10, 0),
        (3, 10, 3),
        (0.5, 3, 1),
        (0.0, 3, 0),
        (0.29, 100, 29),
        (0.07, 100, 7),
        (0.9, 0, 0),
        (0.1, 9, 0),
    ],
)
def test_a_share_is_rounded_down(tolerate: float | None, total: int, allowed: int) -> None:
    assert FanOutSpec(part_type="p", tolerate=tolerate).allowed(total) == allowed


def test_verdicts() -> None:
    strict, settled = FanOutSpec(part_type="p"), FanOutSpec(part_type="p", join="all_settled")
    lenient = FanOutSpec(part_type="p", join="fail_fast", tolerate=1)
    assert strict.has_succeeded(counts(0, 0)) and strict.has_succeeded(counts(2, 0))
    assert not strict.has_succeeded(counts(9, 1))
    assert settled.has_succeeded(counts(0, 9)) and not settled.is_hopeless(counts(0, 9, 1))
    assert lenient.has_succeeded(counts(1, 1)) and not lenient.is_hopeless(counts(0, 1, 1))
    assert lenient.is_hopeless(counts(5, 2, 1))
    canceled = Counts({S.CANCELED: 1, S.COMPLETED: 1})
    assert not strict.has_succeeded(canceled) and strict.is_hopeless(canceled)


def test_counts_tell_open_done_and_busy_apart() -> None:
    found = Counts({S.CREATED: 5, S.HALTED: 1, S.STARTED: 2, S.COMPLETED: 3, S.FAILED: 4}, held=4)
    assert (found.total, found.done, found.open) == (15, 7, 8)
    assert found.as_json() == {"total": 15, "succeeded": 3, "failed": 4, "canceled": 0}


@pytest.mark.parametrize("tolerate", [None, 0, 2, 0.25])
def test_a_spec_survives_its_row(tolerate: float | None) -> None:
    whole = FanOut(
        tolerate=tolerate, max_concurrency=3, timeout=timedelta(minutes=1), join="fail_fast"
    ).spec("p", HandlerSpec("told", "q", 3))
    again = FanOutSpec.from_json(whole.as_json())
    assert again == whole
    assert type(again.tolerate) is type(tolerate)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(1, 1.0), (timedelta(minutes=1), 60.0), (0, None), (-1, None), (True, None), (None, None)],
)
def test_a_duration_is_above_zero(given: Any, seconds: float | None) -> None:
    assert seconds_of(given) == seconds
