"""The task types that a client knows, and the surroundings of their bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from taskdb.types.registry import Registry, import_task_modules, surroundings_with
from taskdb.types.surrounding import Surrounding
from taskdb.types.task_type import TaskType

S = TypeVar("S", bound=Surrounding)


class Types:
    """`taskdb.types`: the registry, filled from the task modules of the settings at first use."""

    def __init__(self, registry: Registry, modules: Sequence[str]) -> None:
        self.registry = registry
        self._modules = modules
        self._is_discovered = False
        self._surroundings: tuple[Surrounding, ...] = ()

    def discover(self) -> Registry:
        """Import the task modules of the settings, once; returns the registry.

        Raises TaskModuleError.
        """
        if not self._is_discovered:
            import_task_modules(self._modules)
            self._is_discovered = True
        return self.registry

    def around(self, make: S) -> S:
        """Surround every body that runs for this client, inside the surroundings of the registry.

        Same as `Registry.around`, but only for the workers of this client.
        """
        self._surroundings = surroundings_with(self._surroundings, make)
        return make

    @property
    def surroundings(self) -> tuple[Surrounding, ...]:
        """The surroundings of a body, the outermost first."""
        return self.registry.surroundings + self._surroundings

    def get(self, name: str) -> TaskType:
        """Return the task type of this name; raises UnknownTaskType, TaskModuleError."""
        return self.discover().get(name)

    def list(self) -> list[TaskType]:
        """Return every task type, by name; raises TaskModuleError."""
        return sorted(self.discover(), key=lambda one: one.name)
