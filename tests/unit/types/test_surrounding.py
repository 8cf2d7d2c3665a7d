"""What surrounds a body: order, errors on the way in and out, and what it may not do."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from taskdb import Registry, Settings, Snooze, TaskDB, around
from taskdb.types.context import TaskContext
from taskdb.types.registry import default_registry
from taskdb.types.surrounding import call_surrounded

CONTEXT: Any = object()


class Steps:
    """What happened, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def around(self, name: str) -> Any:
        @contextmanager
        def make(context: TaskContext) -> Iterator[None]:
            assert context is CONTEXT
            self.seen.append(f"in {name}")
            try:
                yield
            finally:
                self.seen.append(f"out {name}")

        return make

    def body(self) -> str:
        self.seen.append("body")
        return "result"


@pytest.fixture
def steps() -> Steps:
    return Steps()


def refuses(_context: TaskContext) -> AbstractContextManager[None]:
    raise ConnectionError("no line")


@contextmanager
def breaks_at_its_end(_context: TaskContext) -> Iterator[None]:
    yield
    raise ConnectionError("line lost")


@contextmanager
def swallows(_context: TaskContext) -> Iterator[None]:
    with suppress(ValueError):
        yield


def test_the_first_is_the_outermost(steps: Steps) -> None:
    found = call_surrounded([steps.around("a"), steps.around("b")], CONTEXT, steps.body)

    assert found == "result"
    assert steps.seen == ["in a", "in b", "body", "out b", "out a"]


def test_an_error_on_the_way_in_is_the_body_s_and_names_who_raised_it(steps: Steps) -> None:
    with pytest.raises(ConnectionError, match="no line") as raised:
        call_surrounded([steps.around("a"), refuses, steps.around("b")], CONTEXT, steps.body)

    assert steps.seen == ["in a", "out a"]
    (note,) = raised.value.__notes__
    assert note.endswith("refuses, which surrounds bodies, before the body ran")


def test_an_error_on_the_way_out_is_the_body_s_and_names_who_raised_it(steps: Steps) -> None:
    with pytest.raises(ConnectionError, match="line lost") as raised:
        call_surrounded([steps.around("a"), breaks_at_its_end], CONTEXT, steps.body)

    assert steps.seen == ["in a", "body", "out a"]
    assert "breaks_at_its_end" in raised.value.__notes__[0]


def test_what_the_body_raises_passes_through_unchanged(steps: Steps) -> None:
    def body() -> None:
        raise Snooze(5)

    with pytest.raises(Snooze) as raised:
        call_surrounded([steps.around("a"), breaks_at_its_end], CONTEXT, body)

    assert steps.seen == ["in a", "out a"]
    assert getattr(raised.value, "__notes__", []) == []


def test_it_cannot_swallow_what_the_body_raises() -> None:
    def body() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        call_surrounded([swallows], CONTEXT, body)


def test_what_is_no_context_manager_fails_the_attempt_with_advice() -> None:
    with pytest.raises(TypeError, match="returned a list, which is not a context manager"):
        call_surrounded([lambda _context: []], CONTEXT, lambda: None)  # type: ignore[list-item, return-value]


def test_what_cannot_be_called_is_refused_at_once(tmp_path: Path) -> None:
    registry = Registry()
    with pytest.raises(TypeError, match="pass a function from a TaskContext"):
        registry.around("shop.context")  # type: ignore[type-var]
    with TaskDB(Settings(data_dir=tmp_path), registry=registry) as taskdb:
        with pytest.raises(TypeError, match="pass a function from a TaskContext"):
            taskdb.types.around(None)  # type: ignore[type-var]
        assert taskdb.types.surroundings == ()


def test_a_client_has_its_registry_s_and_inside_them_its_own(tmp_path: Path, steps: Steps) -> None:
    registry, outer, inner = Registry(), steps.around("outer"), steps.around("inner")
    settings = Settings(data_dir=tmp_path)
    with TaskDB(settings, registry=registry) as one, TaskDB(settings, registry=registry) as other:
        assert one.types.around(inner) is inner
        assert registry.around(outer) is outer
        one.types.around(inner)
        registry.around(outer)

        assert one.types.surroundings == (outer, inner)
        assert one.for_tenant("acme").types.surroundings == (outer, inner)
        assert other.types.surroundings == (outer,)


def test_the_module_s_around_is_that_of_the_registry_where_task_registers(
    monkeypatch: pytest.MonkeyPatch, steps: Steps
) -> None:
    monkeypatch.setattr(default_registry, "_surroundings", ())
    one = around(steps.around("a"))

    assert default_registry.surroundings == (one,)
