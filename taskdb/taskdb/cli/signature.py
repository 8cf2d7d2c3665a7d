"""Options that several commands share: parameters that a decorator adds to a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any


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
