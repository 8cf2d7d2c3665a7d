"""What a body sees of its run: progress that is cheap, attributes that are checked, a cancel."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb.errors import NotEncodable
from taskdb.model.outcome import Report
from taskdb.types.context import TaskContext


class Recorded:
    """A run that keeps what it was told, in place of the row."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.asked = 0
        self.wanted = False

    def report(self, report: Report) -> None:
        self.reports.append(report)

    def cancel_wanted(self) -> bool:
        self.asked += 1
        return self.wanted


def context_of(run: Recorded, **attributes: Any) -> TaskContext:
    return TaskContext(
        run,
        task_id="id-1",
        type="sum",
        tenant="acme",
        attempt=2,
        attempts_left=1,
        attributes=attributes,
    )


def test_every_report_of_progress_is_handed_over() -> None:
    run = Recorded()
    ctx = context_of(run)
    for number in range(3):
        ctx.progress(number, 3, f"at {number}")
    assert run.reports == [Report(None, one, 3, f"at {one}") for one in range(3)]
    assert ctx.unwritten() == Report()


def test_progress_compares_attributes_rarely() -> None:
    run = Recorded()
    ctx = context_of(run)
    for number in range(100):
        ctx.attributes["number"] = number
        ctx.progress(number)
    assert [report.attributes for report in run.reports[:2]] == [{"number": 0}, None]
    assert ctx.unwritten().attributes == {"number": 99}


@pytest.mark.parametrize("number", [-1, 2**63])
def test_progress_that_is_no_count_is_refused(number: int) -> None:
    run = Recorded()
    with pytest.raises(ValueError, match="whole numbers"):
        context_of(run).progress(number)
    with pytest.raises(ValueError, match="whole numbers"):
        context_of(run).progress(1, number)
    assert run.reports == []


@pytest.mark.parametrize("message", [None, 5, ["a"], 1.5])
def test_a_message_of_progress_that_is_no_text_is_refused_in_words(message: Any) -> None:
    run = Recorded()
    with pytest.raises(TypeError, match="is not text"):
        context_of(run).progress(1, message=message)
    assert run.reports == []


def test_a_message_is_made_fit_for_its_column() -> None:
    run = Recorded()
    context_of(run).progress(1, message="nul \x00 half \ud800 " + "x" * 10_000)
    message = run.reports[0].message or ""
    assert "\x00" not in message and len(message) < 1_100
    assert message.encode()


def test_attributes_go_with_the_next_word_and_only_when_they_changed() -> None:
    ctx = context_of(Recorded(), a=1)
    assert ctx.attributes == {"a": 1} and ctx.unwritten().attributes is None
    ctx.attributes["b"] = [1]
    assert ctx.unwritten().attributes == {"a": 1, "b": [1]}
    assert ctx.unwritten().attributes is None
    ctx.attributes["b"].append(2)
    assert ctx.unwritten().attributes == {"a": 1, "b": [1, 2]}
    del ctx.attributes["a"]
    assert ctx.unwritten().attributes == {"b": [1, 2]} and len(ctx.attributes) == 1


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), "nul \x00"])
def test_an_attribute_that_is_no_json_is_refused_where_it_is_set(value: Any) -> None:
    ctx = context_of(Recorded())
    with pytest.raises(NotEncodable, match=r"ctx\.attributes"):
        ctx.attributes["x"] = value
    assert "x" not in ctx.attributes and ctx.unwritten().attributes is None


def test_what_was_spoiled_after_it_was_set_does_not_spoil_the_outcome() -> None:
    ctx = context_of(Recorded())
    ctx.attributes["x"] = []
    ctx.attributes["x"].append(object())
    assert ctx.unwritten().attributes is None


def test_a_cancel_is_asked_for_rarely_and_stays() -> None:
    run = Recorded()
    ctx = context_of(run)
    assert [ctx.cancel_requested for _ in range(100)] == [False] * 100
    assert run.asked == 1
    run.wanted = True
    ctx._asked_at = float("-inf")
    assert ctx.cancel_requested and ctx.cancel_requested and run.asked == 2
    run.wanted = False
    ctx._asked_at = float("-inf")
    assert ctx.cancel_requested


@given(st.lists(st.tuples(st.text("abc", max_size=1), st.integers() | st.none()), max_size=20))
def test_attributes_behave_like_a_dict(moves: list[tuple[str, int | None]]) -> None:
    ctx = context_of(Recorded())
    plain: dict[str, Any] = {}
    for name, value in moves:
        if value is None:
            assert ctx.attributes.pop(name, "none") == plain.pop(name, "none")
        else:
            ctx.attributes[name] = plain[name] = value
        assert dict(ctx.attributes) == plain


def test_the_logger_says_whose_run_it_is() -> None:
    bound = context_of(Recorded()).log._context
    assert bound == {"task_id": "id-1", "task_type": "sum", "tenant": "acme", "attempt": 2}
