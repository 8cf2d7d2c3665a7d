"""A task type: a name, a body, an input model and policies."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from taskdb.errors import Fault, InvalidInput
from taskdb.model.alarm.alarm import Alarm
from taskdb.model.bounds import TOO_DEEP
from taskdb.model.limit import Limit
from taskdb.model.retry import ONCE, Retry
from taskdb.model.schedule.schedule import Schedule
from taskdb.types.signature import CallShape, function_of

Body = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskType:
    """The body, the input model and the policies of all tasks of one type."""

    name: str
    body: Body
    shape: CallShape
    adapter: TypeAdapter[Any]
    model: type[BaseModel] | None = None
    retry: Retry = ONCE
    timeout: timedelta | None = None
    soft_timeout: timedelta | None = None
    queue: str | None = None
    priority: int = 5
    unique: tuple[str, ...] = ()
    mutex: tuple[str, ...] = ()
    limit: Limit | None = None
    tags: tuple[str, ...] = ()
    on_join: Any = None
    handles: str | None = None
    schedules: tuple[Schedule, ...] = ()
    alarm: Alarm | None = None
    description: str = ""

    @property
    def is_async(self) -> bool:
        """The body is an ``async def``."""
        return inspect.iscoroutinefunction(self.body)

    @property
    def origin(self) -> str:
        """The place where the body is defined, for messages."""
        function = function_of(self.body)
        return f"{function.__module__}.{function.__qualname__}"

    def dump(self, value: Any) -> Any:
        """Return a valid input as JSON values, from which `load` returns an equal input.

        Raises InvalidInput that names every fault.
        """
        loaded = self.load(value)
        try:
            # By field names, since an alias may differ between input and output. Computed fields
            # are left out; parsed values are written as text.
            dumped = self.adapter.dump_python(
                loaded, mode="json", by_alias=False, round_trip=True, warnings="error"
            )
            if self.model is None:
                # Without a model nothing else refuses NaN, which JSON turns into null.
                json.dumps(loaded, allow_nan=False, default=str)
        except (ValueError, TypeError, RecursionError) as error:
            is_deep = isinstance(error, RecursionError) or "depth exceeded" in str(error)
            reason = TOO_DEEP if is_deep else error
            raise self._invalid([Fault("", f"is not JSON: {reason}")]) from None
        try:
            self.load(dumped)
        except InvalidInput as error:
            faults = [Fault(f.path, f"does not survive JSON: {f.message}") for f in error.faults]
            raise self._invalid(faults) from None
        return dumped

    def load(self, value: Any) -> Any:
        """Return the input as the body gets it. Raises InvalidInput that names every fault."""
        given = {} if value is None and self.shape.none_is_empty else value
        if isinstance(given, BaseModel) and not isinstance(given, self.model or BaseModel):
            given = given.model_dump(mode="json", by_alias=True)
        try:
            return self.adapter.validate_python(given, by_alias=True, by_name=True)
        except ValidationError as error:
            return self._load_json(given, error)
        except RecursionError as error:
            raise self._invalid([Fault("", f"contains itself: {error}")]) from None

    def unique_values(self, dumped: Any) -> dict[str, Any]:
        """Return the values of the fields in `unique`, from an input that `dump` returned.

        Raises InvalidInput for an input without fields.
        """
        return self._values(dumped, self.unique, "must be unique")

    def mutex_values(self, dumped: Any) -> dict[str, Any]:
        """Return the values of the fields in `mutex`, as `unique_values` does."""
        return self._values(dumped, self.mutex, "make a mutex")

    def _values(self, dumped: Any, names: tuple[str, ...], purpose: str) -> dict[str, Any]:
        if not isinstance(dumped, Mapping):
            raise self._invalid([Fault("", f"has no fields, and {', '.join(names)} {purpose}")])
        return {name: dumped.get(name) for name in names}

    def _load_json(self, given: Any, refused: ValidationError) -> Any:
        """Load from JSON text: there a strict model accepts a date or a UUID as text."""
        try:
            text = json.dumps(given, allow_nan=False)
            return self.adapter.validate_json(text, by_alias=True, by_name=True)
        except (ValidationError, TypeError, ValueError, RecursionError):
            raise self._invalid(_faults(refused)) from None

    def _invalid(self, faults: list[Fault]) -> InvalidInput:
        return InvalidInput(f"the input of {self.name}", faults)

    def call(self, context: Any, value: Any) -> Any:
        """Run the body on stored JSON values. Returns its result (a coroutine if async)."""
        arguments = [context] if self.shape.takes_context else []
        if self.shape.takes_nothing:
            return self.body(*arguments)
        loaded = self.load(value)
        if self.shape.takes_whole_input:
            return self.body(*arguments, loaded)
        fields = {name: getattr(loaded, name) for name in type(loaded).model_fields}
        return self.body(*arguments, **fields)


def _faults(error: ValidationError) -> list[Fault]:
    return [
        Fault(".".join(str(part) for part in fault["loc"]), fault["msg"])
        for fault in error.errors(include_input=False, include_url=False, include_context=False)
    ]
