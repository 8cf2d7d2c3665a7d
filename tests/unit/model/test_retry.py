"""The retry policy: how long, how often, and for which errors."""

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb.model.retry import ONCE, Retry

seconds = st.floats(0, 10_000)


@given(
    backoff=seconds,
    longest=seconds,
    factor=st.floats(1, 100),
    jitter=st.floats(0, 1),
    failures=st.integers(1, 10_000),
)
def test_a_pause_lies_between_its_bounds(
    backoff: float, longest: float, factor: float, jitter: float, failures: int
) -> None:
    retry = Retry(9, backoff=backoff, factor=factor, max_backoff=longest, jitter=jitter)
    try:
        full = min(backoff * factor ** (failures - 1), longest)
    except OverflowError:
        full = longest if backoff else 0.0
    pause = retry.delay(failures).total_seconds()
    slack = 1e-6  # a timedelta counts microseconds
    assert full * (1 - jitter) - slack <= pause <= full + slack


def test_without_jitter_the_pauses_grow_by_the_factor_up_to_the_longest() -> None:
    retry = Retry(9, backoff=2, factor=3, max_backoff=timedelta(seconds=20), jitter=0)
    assert [retry.delay(n).total_seconds() for n in (1, 2, 3, 4, 400)] == [2, 6, 18, 20, 20]


def test_jitter_spreads_tasks_that_failed_together() -> None:
    retry = Retry(backoff=100, jitter=0.5)
    pauses = {retry.delay(1) for _ in range(100)}
    assert len(pauses) > 90
    assert all(timedelta(seconds=50) <= pause <= timedelta(seconds=100) for pause in pauses)


@pytest.mark.parametrize("factor", [2, 2.0, 1e308, 10**400, math.inf])
def test_a_pause_past_every_number_is_the_longest(factor: float) -> None:
    retry = Retry(backoff=1, factor=factor, jitter=0, max_backoff=timedelta(days=36_500))
    assert retry.delay(1_000_000) == timedelta(days=36_500)


def test_wants_counts_all_attempts_the_first_included() -> None:
    retry = Retry(3)
    assert [retry.wants(ValueError(), used) for used in (1, 2, 3, 4)] == [True, True, False, False]
    assert not ONCE.wants(ValueError(), 1)


def test_wants_looks_at_the_kind_of_the_error() -> None:
    retry = Retry(retry_on=(OSError, KeyError), give_up_on=(FileNotFoundError,))
    assert retry.wants(ConnectionError(), 1) and retry.wants(KeyError("x"), 1)
    assert not retry.wants(FileNotFoundError(), 1)
    assert not retry.wants(ValueError(), 1)
    assert not Retry().wants(SystemExit(), 1)
    assert not Retry().wants(KeyboardInterrupt(), 1)


def test_one_error_type_or_a_list_of_them_will_do() -> None:
    retry = Retry(retry_on=OSError, give_up_on=[TimeoutError])  # type: ignore[arg-type]
    assert retry.wants(ConnectionError(), 1) and not retry.wants(TimeoutError(), 1)


@pytest.mark.parametrize(
    "values",
    [
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"max_attempts": 2.5},
        {"max_attempts": "3"},
        {"max_attempts": 2**31},
        {"backoff": -1},
        {"backoff": math.nan},
        {"backoff": timedelta(seconds=-1)},
        {"backoff": "soon"},
        {"max_backoff": -1},
        {"max_backoff": math.inf},
        {"max_backoff": math.nan},
        {"factor": 0.5},
        {"factor": math.nan},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"jitter": math.nan},
        {"retry_on": "OSError"},
        {"retry_on": (OSError(),)},
        {"give_up_on": (int,)},
        {"give_up_on": None},
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^Retry\("):
        Retry(**values)
