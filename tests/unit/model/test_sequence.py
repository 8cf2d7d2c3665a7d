"""Sequences as they are said, and as a row keeps them."""

from typing import Any

import pytest

from taskdb.errors import SequenceNotFound, TaskAlreadyRegistered
from taskdb.model.fan_out import FanOutSpec, HandlerSpec
from taskdb.model.sequence import SequenceSpec, StepSpec
from taskdb.types.registry import Registry
from taskdb.types.sequence import Sequence, Step


@pytest.mark.parametrize("name", ["", " ", "a#b", "a\x00"])
def test_a_name_is_text_that_a_key_can_bear(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a sequence"):
        Sequence(name, ["step"], registry=Registry())


def test_it_has_steps() -> None:
    with pytest.raises(ValueError, match="has no steps"):
        Sequence("empty", [], registry=Registry())


def test_it_registers_itself_once() -> None:
    registry = Registry()
    made = Sequence("mine", ["a", Step("b", name="second")], registry=registry)
    assert registry.sequence("mine") is made
    assert made.steps == (Step("a"), Step("b", name="second"))
    # A module that is imported anew says the same; another meaning is a mistake.
    Sequence("mine", ["a", Step("b", name="second")], registry=registry)
    with pytest.raises(TaskAlreadyRegistered):
        Sequence("mine", ["a"], registry=registry)
    with pytest.raises(SequenceNotFound, match="mine"):
        registry.sequence("mime")


def test_only_handlers_that_are_given_stand_in_it() -> None:
    given: dict[str, Any] = {"on_error": "told"}
    assert Sequence("mine", ["a"], registry=Registry(), **given).handlers == given


def test_a_spec_survives_its_row() -> None:
    told = HandlerSpec("told", "q", 1)
    inner = SequenceSpec(
        name="inner",
        steps=(StepSpec(name="s", type="t", queue="q", priority=5),),
        handlers={"on_start": told},
        timeout=3.0,
    )
    fanned = FanOutSpec(part_type="part", tolerate=0.5, on_join=told)
    whole = SequenceSpec(
        name="outer",
        steps=(
            StepSpec(name="a", type="t", queue="q", priority=5, sequence=inner),
            StepSpec(name="b", type="t", queue="q", priority=5, fan_out=fanned),
        ),
        handlers={},
        base=7,
    )
    assert SequenceSpec.from_json(whole.as_json()) == whole
