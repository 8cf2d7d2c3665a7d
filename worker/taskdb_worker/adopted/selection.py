"""The selection of an app's watched tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from taskdb.errors import Fault, InvalidInput

PLUMBING = ("celery.chord_unlock", "celery.backend_cleanup")
"""Celery's internal tasks. Watched only where `only` names them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Patterns of names, as in a shell (`billing.*`)."""

    only: tuple[str, ...] | None
    exclude: tuple[str, ...]

    @classmethod
    def of(cls, only: Iterable[str] | None, exclude: Iterable[str]) -> Selection:
        """Create a selection. Raises InvalidInput for a value that is no list of names."""
        chosen = None if only is None else _patterns("only", only)
        if chosen == ():
            raise _wrong("only", "names no task: leave it out to mean all")
        return cls(chosen, _patterns("exclude", exclude))

    def wants(self, name: str) -> bool:
        """Whether a task of this name is watched."""
        if any(fnmatchcase(name, pattern) for pattern in self.exclude):
            return False
        if self.only is None:
            return name not in PLUMBING
        return any(fnmatchcase(name, pattern) for pattern in self.only)


def _patterns(argument: str, given: Any) -> tuple[str, ...]:
    if isinstance(given, str | bytes):
        raise _wrong(argument, f"give a list: {argument}=[{given!r}]")
    try:
        patterns = tuple(given)
    except TypeError:
        raise _wrong(argument, f"{given!r} is not a list of task names") from None
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern:
            raise _wrong(argument, f"{pattern!r} is not the name of a task: pass text")
    return patterns


def _wrong(argument: str, advice: str) -> InvalidInput:
    return InvalidInput("the call of track", [Fault(argument, advice)])
