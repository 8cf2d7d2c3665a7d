"""What surrounds every body: a hook opens something for a run, and closes it after its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

from taskdb.types.context import TaskContext
from taskdb.types.task_type import Registry, surroundings_with

Surrounding = Callable[[TaskContext], AbstractContextManager[Any]]
"""Makes the context manager in which a run's body is called."""

S = TypeVar("S", bound=Surrounding)
T = TypeVar("T")


class Surrounded:
    """What surrounds the bodies of one client; `TaskDB` is one."""

    registry: Registry
    _surroundings: tuple[Surrounding, ...] = ()

    def around(self, make: S) -> S:
        """Surround every body that runs for this client, inside what surrounds its registry's.

        As `Registry.around`, but for the workers of this client alone.
        """
        self._surroundings = surroundings_with(self._surroundings, make)
        return make

    @property
    def surroundings(self) -> tuple[Surrounding, ...]:
        """What surrounds a body, the outermost first."""
        return self.registry.surroundings + self._surroundings


def call_surrounded(
    surroundings: Sequence[Surrounding], context: TaskContext, call: Callable[[], T]
) -> T:
    """Call with each of these entered, the first outermost; answers what the call answers.

    What one raises on its way in or out is raised here, with a note that names it, and what the
    call raises always is: a surrounding cannot swallow it.
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
        message = f"it answered a {type(given).__name__}, which is no context manager"
        raise TypeError(message)
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
