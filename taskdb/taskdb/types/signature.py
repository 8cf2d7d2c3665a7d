"""The signature of a body: how it is called, and the type of its input."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model
from pydantic.errors import PydanticUserError

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class CallShape:
    """The arguments of a body, read from its signature once.

    `takes_context`: its first parameter is the context. `takes_whole_input`: one parameter gets
    the input (as a model, or as plain JSON values); otherwise each field of the input is a
    parameter. `none_is_empty`: a submit without input means an empty object.
    """

    takes_context: bool
    takes_whole_input: bool
    takes_nothing: bool
    none_is_empty: bool


def read_signature(
    name: str, body: Any, declared: Any
) -> tuple[CallShape, TypeAdapter[Any], type[BaseModel] | None]:
    """Return how a body is called, the adapter that validates its input, and its model or None.

    `declared` is the `input` option of the type, or None. Raises TypeError for a body whose
    parameters cannot be filled.
    """
    if not callable(body):
        raise TypeError(f"task type {name!r} needs a function, not {body!r}")
    _refuse_generator(name, body)
    parameters = list(inspect.signature(body).parameters.values())
    hints = _hints(name, body)
    takes_context = bool(parameters) and _is_context(parameters[0], hints)
    rest = parameters[1:] if takes_context else parameters
    whole = _whole_input(rest, hints, declared)
    if whole is not None:
        model = whole if isinstance(whole, type) and issubclass(whole, BaseModel) else None
        empty = model is not None or whole in {Any, dict} or get_origin(whole) is dict
        shape = CallShape(
            takes_context=takes_context,
            takes_whole_input=True,
            takes_nothing=False,
            none_is_empty=empty,
        )
        return shape, TypeAdapter(whole), model
    model = declared if declared is not None else _model_of(name, rest, hints)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        message = f"task type {name!r}: input={model!r} with one parameter a field needs a model"
        raise TypeError(message)
    _check_parameters(name, rest, model)
    shape = CallShape(
        takes_context=takes_context,
        takes_whole_input=False,
        takes_nothing=not rest,
        none_is_empty=True,
    )
    return shape, TypeAdapter(model), model


def _refuse_generator(name: str, body: Any) -> None:
    """Refuse a generator: a call of it runs no code, and a row cannot store what it yields."""
    for called in (body, getattr(type(body), "__call__", None)):  # noqa: B004 - its code is inspected
        if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
            raise TypeError(
                f"task type {name!r}: its body is a generator, and calling it runs no code; "
                "return a list, or pass each item to a part of a fan-out"
            )


def _whole_input(
    rest: list[inspect.Parameter], hints: Mapping[str, Any], declared: Any
) -> Any | None:
    """Return the type of the single parameter that takes the whole input, or None."""
    if len(rest) != 1 or rest[0].kind in _VARIADIC:
        return None
    hint = hints.get(rest[0].name)
    is_model = isinstance(hint, type) and issubclass(hint, BaseModel)
    if rest[0].name != "input" and not is_model and declared is None:
        return None
    if declared is not None:
        fields = getattr(declared, "model_fields", {})
        return declared if is_model or rest[0].name not in fields else None
    return Any if hint is None else hint


def _model_of(
    name: str, rest: list[inspect.Parameter], hints: Mapping[str, Any]
) -> type[BaseModel]:
    """Create a strict model whose fields are the parameters of the body."""
    fields: dict[str, Any] = {}
    for parameter in rest:
        if parameter.kind in _VARIADIC or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise TypeError(
                f"task type {name!r}: parameter {parameter} cannot be a field of the input; name "
                "every field, or take one parameter called input"
            )
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    try:
        with warnings.catch_warnings():
            # A parameter may be named copy or json; only this module uses the model.
            warnings.simplefilter("ignore", UserWarning)
            return create_model(
                f"Input of {name}",
                __config__=ConfigDict(extra="forbid", protected_namespaces=()),
                **fields,
            )
    except (NameError, PydanticUserError) as error:
        message = f"task type {name!r}: its parameters cannot be fields of an input: {error}"
        raise TypeError(message) from None


def _check_parameters(
    name: str, parameters: list[inspect.Parameter], model: type[BaseModel]
) -> None:
    """Require a parameter per field, and a default for every other parameter."""
    names = {parameter.name for parameter in parameters}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    by_place = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    unknown = [] if takes_any else [field for field in model.model_fields if field not in names]
    unfilled = [
        parameter.name
        for parameter in parameters
        if parameter.kind not in _VARIADIC
        and parameter.default is inspect.Parameter.empty
        and parameter.name not in model.model_fields
    ]
    faults = [
        f"{what} {', '.join(found)}"
        for what, found in (
            ("the body has no parameter for", unknown),
            ("the input has no field for", unfilled),
            ("these are passed by name and cannot be positional-only:", by_place),
        )
        if found
    ]
    if faults and parameters:
        raise TypeError(f"task type {name!r}: {'; '.join(faults)}")


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
    hint = hints.get(parameter.name)
    return parameter.kind in _POSITIONAL and (
        parameter.name == "ctx" or getattr(hint, "__name__", hint) == "TaskContext"
    )


def _hints(name: str, body: Any) -> dict[str, Any]:
    """Return the type hints of the parameters, with the metadata of `Annotated`.

    Raises TypeError for a hint that cannot be resolved at run time, except that of the context.
    """
    function = function_of(body)
    found = {}
    for parameter, hint in getattr(function, "__annotations__", {}).items():
        try:
            alone = SimpleNamespace(__annotations__={parameter: hint})
            scope = getattr(function, "__globals__", {})
            found[parameter] = get_type_hints(alone, scope, include_extras=True)[parameter]
        except NameError as error:
            found[parameter] = hint
            if parameter not in {"ctx", "return"} and hint != "TaskContext":
                raise TypeError(
                    f"task type {name!r}: the hint of parameter {parameter} cannot be resolved "
                    f"({error}): define it at the top of a module, and import it outside of "
                    "TYPE_CHECKING"
                ) from None
    return found


def function_of(body: Any) -> Any:
    """Return the function behind a partial, a decorator or a callable object."""
    function = inspect.unwrap(getattr(body, "func", body))
    return function if inspect.isroutine(function) else type(function).__call__
