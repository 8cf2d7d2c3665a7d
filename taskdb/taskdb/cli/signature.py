"""Options that several commands share: parameters that a decorator adds to a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True, slots=True)
class Option:
    """An option that several commands share: its help, what it takes, and its flags.

    Without `flags` it has one, made of its name.
    """

    help: str
    kind: Any = str | None
    metavar: str | None = "TEXT"
    flags: tuple[str, ...] = ()

    def parameter(self, name: str, panel: str, *, prefix: str = "--") -> tuple[Any, Any]:
        """The annotation and the default of a parameter, for `with_parameters`."""
        flags = self.flags or (f"{prefix}{name.replace('_', '-')}",)
        declared = typer.Option(*flags, help=self.help, metavar=self.metavar, rich_help_panel=panel)
        return Annotated[self.kind, declared], False if self.kind is bool else None


def with_parameters(
    function: Callable[..., Any], shared: Mapping[str, tuple[Any, Any]], *, instead_of: str
) -> inspect.Signature:
    """The signature with (annotation, default) parameters in the place of one parameter."""
    own = inspect.signature(function, eval_str=True)
    kept = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in own.parameters.values()
        if one.name != instead_of
    ]
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
        )
        for name, (annotation, default) in shared.items()
    ]
    return own.replace(parameters=[*kept, *added])
