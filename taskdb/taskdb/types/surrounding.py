"""Surroundings: context managers of the user in which every body is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

from taskdb.types.context import TaskContext

Surrounding = Callable[[TaskContext], AbstractContextManager[Any]]
"""Creates the context manager in which the body of a run is called."""

T = TypeVar("T")


def call_surrounded(
    surroundings: Sequence[Surrounding], context: TaskContext, call: Callable[[], T]
) -> T:
    """Enter each surrounding, the first outermost, and call. Returns the result of the call.

    An error of a surrounding is raised with a note that names the surrounding. An error of the
    call is always raised: a surrounding cannot swallow it.
    """
    raised: BaseException | None = None
    with ExitStack() as stack:
        for one in surroundings:
            stack.push(_exit_of(one, _entered(one, context)))
        try:
            return call()
        except BaseException as error:
            raised = error
            raise
    raise raised


def _entered(one: Surrounding, context: TaskContext) -> AbstractContextManager[Any]:
    try:
        manager = _manager(one(context))
        manager.__enter__()
    except BaseException as error:
        error.add_note(f"raised by {_name(one)}, which surrounds bodies, before the body ran")
        raise
    return manager


def _manager(given: Any) -> AbstractContextManager[Any]:
    if not isinstance(given, AbstractContextManager):
        raise TypeError(f"it returned a {type(given).__name__}, which is not a context manager")
    return given


def _exit_of(one: Surrounding, manager: AbstractContextManager[Any]) -> Callable[..., bool | None]:
    def leave(*raised: Any) -> bool | None:
        try:
            return manager.__exit__(*raised)
        except BaseException as error:
            if error is not raised[1]:
                error.add_note(f"raised by {_name(one)}, which surrounds bodies, after the body")
            raise

    return leave


def _name(one: Any) -> str:
    return f"{getattr(one, '__module__', '')}.{getattr(one, '__qualname__', repr(one))}".strip(".")
