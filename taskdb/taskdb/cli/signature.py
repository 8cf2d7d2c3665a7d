"""Options that several commands share: parameters that a decorator adds to a function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Option:
    """An option that several commands share: its help, the kind of its value, and its flags.

    Without `flags` it has one flag, made of its name.
    """

    help: str
    kind: Any = str | None
    metavar: str | None = "TEXT"
    flags: tuple[str, ...] = ()

    def parameter(self, name: str, panel: str | None, *, prefix: str = "--") -> tuple[Any, Any]:
        """The annotation and the default of a parameter, for `with_parameters`."""
        flags = self.flags or (f"{prefix}{name.replace('_', '-')}",)
        declared = typer.Option(*flags, help=self.help, metavar=self.metavar, rich_help_panel=panel)
        return Annotated[self.kind, declared], False if self.kind is bool else None


def with_options(
    options: Mapping[str, Option],
    panel: str | None,
    *,
    instead_of: str,
    read: Callable[[dict[str, Any]], Any] = dict,
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a command shared options. It gets the result of `read` as one argument."""

    def decorated(command: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(command)
        def run(*arguments: Any, **values: Any) -> T:
            chosen = {name: values.pop(name) for name in options}
            return command(*arguments, **{instead_of: read(chosen)}, **values)

        parameters = {name: one.parameter(name, panel) for name, one in options.items()}
        signature = with_parameters(command, parameters, instead_of=instead_of)
        run.__signature__ = signature  # type: ignore[attr-defined]
        return run

    return decorated


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
