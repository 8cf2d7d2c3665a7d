"""The task types and sequences that a process knows, by name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from taskdb.errors import SequenceNotFound, TaskAlreadyRegistered, TaskModuleError, UnknownTaskType
from taskdb.model.bounds import shown
from taskdb.types.task_type import TaskType

S = TypeVar("S", bound=Callable[[Any], Any])


class NamedSteps(Protocol):
    """The part of a sequence that a registry uses."""

    name: str
    steps: Any


class Registry:
    """The task types and sequences of a process, by name."""

    def __init__(self) -> None:
        self._types: dict[str, TaskType] = {}
        self._handlers: dict[str, dict[str, TaskType]] = {}
        self._sequences: dict[str, NamedSteps] = {}
        self._queues: set[str] = set()
        self._surroundings: tuple[Callable[[Any], Any], ...] = ()

    def around(self, make: S) -> S:
        """Surround every body with a context manager, which `make` creates from its TaskContext.

        A run enters the context managers of its registry in the order in which they were added,
        and leaves them in reverse. An error in one fails the attempt, as an error of the body
        does. To add the same function twice changes nothing. Returns `make`, so that this is a
        decorator. Raises TypeError for a value that cannot be called.
        """
        self._surroundings = surroundings_with(self._surroundings, make)
        return make

    @property
    def surroundings(self) -> tuple[Callable[[Any], Any], ...]:
        """The functions that `around` has added, the outermost first."""
        return self._surroundings

    def add(self, task_type: TaskType) -> None:
        """Register a type. Raises TaskAlreadyRegistered if the name has another body."""
        known = self._types.get(task_type.name)
        # A reloaded module or a notebook cell defines its bodies a second time.
        if known is not None and known.origin != task_type.origin:
            raise TaskAlreadyRegistered(task_type.name, known.origin, task_type.origin)
        self._types[task_type.name] = task_type
        if task_type.handles is not None:
            self._handlers.setdefault(task_type.handles, {})[task_type.name] = task_type

    def get(self, name: str) -> TaskType:
        """Return the type of this name. Raises UnknownTaskType."""
        try:
            return self._types[name]
        except (KeyError, TypeError):
            raise UnknownTaskType(_named(name), self._types) from None

    def name_of(self, given: Any) -> str:
        """Return the name of a type, given by its name or by its function.

        Raises UnknownTaskType for a function that is not the body of a registered type.
        """
        if isinstance(given, str):
            return given
        for task_type in self._types.values():
            if task_type.body is given:
                return task_type.name
        raise UnknownTaskType(getattr(given, "__qualname__", shown(given)), self._types)

    def handlers_of(self, name: str) -> list[TaskType]:
        """Return the types that `@on_task(name)` has registered, oldest first."""
        return list(self._handlers.get(name, {}).values())

    def add_sequence(self, sequence: NamedSteps) -> None:
        """Register a sequence. Raises TaskAlreadyRegistered if the name has other steps."""
        known = self._sequences.get(sequence.name)
        if known is not None and known.steps != sequence.steps:
            raise TaskAlreadyRegistered(sequence.name, repr(known), repr(sequence))
        self._sequences[sequence.name] = sequence

    def sequence(self, name: str) -> Any:
        """Return the sequence of this name. Raises SequenceNotFound."""
        try:
            return self._sequences[name]
        except (KeyError, TypeError):
            raise SequenceNotFound(_named(name), self._sequences) from None

    @property
    def sequences(self) -> list[str]:
        """The names of the sequences."""
        return sorted(self._sequences)

    def consume(self, queues: Iterable[str]) -> None:
        """Add queues that a worker consumes beside those of its types; for frameworks."""
        self._queues.update(queues)

    @property
    def queues(self) -> list[str]:
        """The queues that `consume` has added."""
        return sorted(self._queues)

    def find(self, name: str) -> TaskType | None:
        """Return the type of this name, or None."""
        return self._types.get(name)

    def __iter__(self) -> Iterator[TaskType]:
        return iter(sorted(self._types.values(), key=lambda one: one.name))

    def __len__(self) -> int:
        return len(self._types)

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def clear(self) -> None:
        """Forget every type, for tests."""
        self._types.clear()
        self._handlers.clear()
        self._sequences.clear()
        self._queues.clear()
        self._surroundings = ()


default_registry = Registry()
"""The registry that `@task` uses by default."""


def around(make: S) -> S:
    """Call `Registry.around` of the default registry."""
    return default_registry.around(make)


def surroundings_with(
    known: tuple[Callable[[Any], Any], ...], make: Any
) -> tuple[Callable[[Any], Any], ...]:
    """Return the known functions, and this one as the innermost. Raises TypeError."""
    if not callable(make):
        message = f"around({make!r}): pass a function from a TaskContext to a context manager"
        raise TypeError(message)
    return known if make in known else (*known, make)


def import_task_modules(modules: Iterable[str]) -> None:
    """Import the modules that define task types. Raises TaskModuleError."""
    for module in modules:
        if module in sys.modules:
            continue
        try:
            importlib.import_module(module)
        except TaskAlreadyRegistered:
            raise
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            raise TaskModuleError(module, reason) from error


def _named(name: Any) -> str:
    return name if isinstance(name, str) else shown(name)
