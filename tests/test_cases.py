"""A test that walks cases: each of them is called, and named when it fails."""

import inspect

import pytest

from tests.cases import each


def test_each_case_of_each_parameter_is_called_with_what_the_test_asks_for() -> None:
    called = []

    @each("one, two", [(1, "a"), (2, "b")])
    @each("three", [True, False])
    def walk(fixture: str, one: int, two: str, *, three: bool) -> None:
        called.append((fixture, one, two, three))

    walk(fixture="given")

    assert list(inspect.signature(walk).parameters) == ["fixture"]
    assert called == [
        ("given", 1, "a", True),
        ("given", 1, "a", False),
        ("given", 2, "b", True),
        ("given", 2, "b", False),
    ]


@pytest.mark.parametrize(
    ("ids", "name"), [(None, "value=2"), (["first", "second"], "second"), (str, "2")]
)
def test_a_case_that_fails_is_named(ids: object, name: str) -> None:
    @each("value", [1, 2], ids=ids)  # type: ignore[arg-type]
    def walk(value: int) -> None:
        assert value == 1

    with pytest.raises(AssertionError) as failed:
        walk()

    assert failed.value.__notes__ == [f"in the case {name}"]
