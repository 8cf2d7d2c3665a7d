"""What a body says about its own end travels between processes whole."""

import math
import pickle
from datetime import timedelta
from typing import Any

import pytest

from taskdb.model.outcome import Cancel, Fail, Halt, Outcome, RetryLater, Snooze


@pytest.mark.parametrize(
    "outcome", [Fail("a"), Halt("b"), Cancel("c"), Cancel(), Snooze(5, "d"), Snooze(timedelta(1))]
)
def test_an_outcome_survives_pickling(outcome: Outcome) -> None:
    again = pickle.loads(pickle.dumps(outcome))  # noqa: S301 - our own
    assert type(again) is type(outcome)
    assert vars(again) == vars(outcome) and again.args == outcome.args


def test_an_outcome_may_be_raised_and_tells_its_reason() -> None:
    with pytest.raises(Outcome, match="the file is gone"):
        raise Fail("the file is gone")


def test_a_snooze_takes_seconds_or_a_duration() -> None:
    assert Snooze(1.5).delay == Snooze(timedelta(seconds=1.5)).delay
    assert Snooze(0).delay == timedelta(0)
    assert RetryLater is Snooze


@pytest.mark.parametrize(
    "delay", [-1, timedelta(microseconds=-1), math.nan, math.inf, 1e300, "soon", None]
)
def test_a_snooze_that_makes_no_sense_is_refused(delay: Any) -> None:
    with pytest.raises(ValueError, match=r"cannot snooze|cannot convert"):
        Snooze(delay)
