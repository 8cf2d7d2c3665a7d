"""Task types: a name, a handler, an input model and policies; and the registry of them."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

from taskdb.errors import (
    Fault,
    InvalidInput,
    SequenceNotFound,
    TaskAlreadyRegistered,
    TaskModuleError,
    UnknownTaskType,
)
from taskdb.model.alarm.alarm import Alarm
from taskdb.model.bounds import NAME_BYTES, QUEUE_BYTES, TOO_DEEP, as_duration, shown, wrong_text
from taskdb.model.limit import Limit
from taskdb.model.retry import ONCE, Retry
from taskdb.model.schedule.schedule import Schedule, named
from taskdb.types.signature import CallShape, function_of, read_signature

Body = Callable[..., Any]
B = TypeVar("B", bound=Body)
S = TypeVar("S", bound=Callable[[Any], Any])

_FORBIDDEN_IN_NAMES = "#\x00\n\r"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskType:
    """Everything that is decided about tasks of one name."""

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
        """Where the body is defined, for messages."""
        function = function_of(self.body)
        return f"{function.__module__}.{function.__qualname__}"

    def dump(self, value: Any) -> Any:
        """A validated input as JSON values, such that `load` answers the same input again.

        Raises InvalidInput that names every fault.
        """
        loaded = self.load(value)
        try:
            # By the names of the fields: an alias may be another one on the way in. What is
            # computed from the fields is no input; what was parsed is written as text.
            dumped = self.adapter.dump_python(
                loaded, mode="json", by_alias=False, round_trip=True, warnings="error"
            )
            if self.model is None:
                # Without a model nobody notices that NaN has become None.
                json.dumps(loaded, allow_nan=False, default=str)
        except (ValueError, TypeError, RecursionError) as error:
            is_deep = isinstance(error, RecursionError) or "depth exceeded" in str(error)
            reason = TOO_DEEP if is_deep else error
            raise self._invalid([Fault("", f"is not JSON: {reason}")]) from None
        try:
            self.load(dumped)
        except InvalidInput as error:
            faults = [
                Fault(f.path, f"does not come back from JSON: {f.message}") for f in error.faults
            ]
            raise self._invalid(faults) from None
        return dumped

    def load(self, value: Any) -> Any:
        """The input as the body gets it. Raises InvalidInput that names every fault."""
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
        """The values of the fields in `unique`, of an input as `dump` answered it.

        Raises InvalidInput for an input that has no fields.
        """
        return self._values(dumped, self.unique, "must be unique")

    def mutex_values(self, dumped: Any) -> dict[str, Any]:
        """The same of the fields in `mutex`."""
        return self._values(dumped, self.mutex, "make a mutex")

    def _values(self, dumped: Any, names: tuple[str, ...], purpose: str) -> dict[str, Any]:
        if not isinstance(dumped, Mapping):
            advice = f"has no fields, and {', '.join(names)} {purpose}"
            raise self._invalid([Fault("", advice)])
        return {name: dumped.get(name) for name in names}

    def _load_json(self, given: Any, refused: ValidationError) -> Any:
        """A strict model takes a date or a UUID from JSON, where both can only be text."""
        try:
            text = json.dumps(given, allow_nan=False)
            return self.adapter.validate_json(text, by_alias=True, by_name=True)
        except (ValidationError, TypeError, ValueError, RecursionError):
            raise self._invalid(_faults(refused)) from None

    def _invalid(self, faults: list[Fault]) -> InvalidInput:
        return InvalidInput(f"the input of {self.name}", faults)

    def call(self, context: Any, value: Any) -> Any:
        """Run the body on stored JSON values; answers what it returns (a coroutine if async)."""
        arguments = [context] if self.shape.takes_context else []
        if self.shape.takes_nothing:
            return self.body(*arguments)
        loaded = self.load(value)
        if self.shape.takes_whole_input:
            return self.body(*arguments, loaded)
        fields = {name: getattr(loaded, name) for name in type(loaded).model_fields}
        return self.body(*arguments, **fields)


class NamedSteps(Protocol):
    """What a registry knows of a sequence."""

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
        """Surround every body with the context manager that this makes of its TaskContext.

        Each run enters those of its registry in the order in which they were added, and leaves
        them in reverse; an error in one fails the attempt as an error of the body does. Adding
        the same one again changes nothing. Answers what it was given, so that it decorates.
        Raises TypeError for what cannot be called.
        """
        self._surroundings = surroundings_with(self._surroundings, make)
        return make

    @property
    def surroundings(self) -> tuple[Callable[[Any], Any], ...]:
        """What was added by `around`, the outermost first."""
        return self._surroundings

    def add(self, task_type: TaskType) -> None:
        """Register a type; raises TaskAlreadyRegistered unless it is the same body again."""
        known = self._types.get(task_type.name)
        # A module that is imported anew (a reload, a notebook cell) defines its bodies again.
        if known is not None and known.origin != task_type.origin:
            raise TaskAlreadyRegistered(task_type.name, known.origin, task_type.origin)
        self._types[task_type.name] = task_type
        if task_type.handles is not None:
            self._handlers.setdefault(task_type.handles, {})[task_type.name] = task_type

    def get(self, name: str) -> TaskType:
        """The type of this name; raises UnknownTaskType."""
        try:
            return self._types[name]
        except (KeyError, TypeError):
            raise UnknownTaskType(_named(name), self._types) from None

    def name_of(self, given: Any) -> str:
        """The name of a type that may be given by name or by its function.

        Raises UnknownTaskType for a function that is no body of a type here.
        """
        if isinstance(given, str):
            return given
        for task_type in self._types.values():
            if task_type.body is given:
                return task_type.name
        raise UnknownTaskType(getattr(given, "__qualname__", shown(given)), self._types)

    def handlers_of(self, name: str) -> list[TaskType]:
        """The types made by `@on_task(name)`, in the order in which they were made."""
        return list(self._handlers.get(name, {}).values())

    def add_sequence(self, sequence: NamedSteps) -> None:
        """Register a sequence; raises TaskAlreadyRegistered unless it has the same steps."""
        known = self._sequences.get(sequence.name)
        if known is not None and known.steps != sequence.steps:
            raise TaskAlreadyRegistered(sequence.name, repr(known), repr(sequence))
        self._sequences[sequence.name] = sequence

    def sequence(self, name: str) -> Any:
        """The sequence of this name; raises SequenceNotFound."""
        try:
            return self._sequences[name]
        except (KeyError, TypeError):
            raise SequenceNotFound(_named(name), self._sequences) from None

    @property
    def sequences(self) -> list[str]:
        """The names of the sequences."""
        return sorted(self._sequences)

    def consume(self, queues: Iterable[str]) -> None:
        """Name queues that a worker has beside those of its types; for frameworks."""
        self._queues.update(queues)

    @property
    def queues(self) -> list[str]:
        """What `consume` was told."""
        return sorted(self._queues)

    def find(self, name: str) -> TaskType | None:
        """The type of this name, or None."""
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
"""Where `@task` registers unless told otherwise."""


def task(  # noqa: PLR0913 - the options of a type, all by keyword
    name: str,
    *,
    input: type[BaseModel] | Any | None = None,
    retry: Retry | None = None,
    timeout: timedelta | float | None = None,
    soft_timeout: timedelta | float | None = None,
    queue: str | None = None,
    priority: int = 5,
    unique: str | Iterable[str] = (),
    mutex: str | Iterable[str] = (),
    max_running: int | None = None,
    max_starts: int | None = None,
    per: timedelta | float | None = None,
    tags: Iterable[str] = (),
    on_join: Any = None,
    schedule: str | Schedule | Iterable[str | Schedule] | None = None,
    alarm: Alarm | bool | None = None,
    registry: Registry | None = None,
) -> Callable[[B], B]:
    """Make a function the body of a task type; the function itself stays as it is.

    `input` is a pydantic model (or any type that pydantic can check); without it the signature
    says: a parameter named `ctx` or typed TaskContext gets the context; one parameter named
    `input`, or typed with a model, gets the whole input; otherwise the parameters are the input's
    fields. `retry` without a policy means one attempt. `timeout` and `soft_timeout` are durations
    (timedelta or seconds). `priority` runs from 0 to 9, 9 first. `unique` names the fields of the
    input whose values may exist only once among tasks of this type and tenant. `mutex` names those
    of which no two tasks with the same values (of this type and tenant) run at once; they run in
    order of arrival. At most `max_running` tasks of the type run at once, over all workers, and at
    most `max_starts` begin in any stretch of time `per`; a limit set by hand wins over both.
    `on_join` (a type's name or function) runs when a task of this type has fanned out and its
    parts have ended well; what it returns becomes the result. `schedule` submits it again and
    again: a cron expression, a `Schedule`, or several. `alarm` says what of the type someone must
    hear of, and who (an `Alarm`); False: nothing; without it the settings say.
    Raises ValueError or TypeError for what makes no sense, TaskAlreadyRegistered.
    """
    _check_name(name)
    _check_priority(priority)
    _check_retry(retry)
    _check_queue(queue)
    names = _texts(unique, "unique")
    mutex_names = _texts(mutex, "mutex")
    limit = Limit.of(max_running, max_starts, per)
    labels = _texts(tags, "tags")
    schedules = named(schedule, name)
    policy = Alarm.of(alarm)
    limits = (_duration(timeout, "timeout"), _duration(soft_timeout, "soft_timeout"))
    _check_limits(*limits)

    def register(body: B) -> B:
        shape, adapter, model = read_signature(name, body, input)
        _check_fields(name, "unique", names, model)
        _check_fields(name, "mutex", mutex_names, model)
        _check_no_secrets(name, adapter)
        (default_registry if registry is None else registry).add(
            TaskType(
                name=name,
                body=body,
                shape=shape,
                adapter=adapter,
                model=model,
                retry=retry or ONCE,
                timeout=limits[0],
                soft_timeout=limits[1],
                queue=queue,
                priority=priority,
                unique=names,
                mutex=mutex_names,
                limit=limit,
                tags=labels,
                on_join=on_join,
                schedules=schedules,
                alarm=policy,
                description=inspect.getdoc(body) or "",
            )
        )
        return body

    return register


def on_task(type_name: str, *, name: str | None = None, **options: Any) -> Callable[[B], B]:
    """Make a function another handler of a task type, beside its own body.

    When a body of that type has returned, its handlers run side by side with the same input, as
    sub-tasks with retries of their own; the task is FINISHED meanwhile, COMPLETED when all have
    ended well, FAILED (its result kept) when one has not. They do not follow a body that fanned
    out, whose end is its `on_join`. `name` is that of the handler's own
    type, by default `<type>:<function>`; the options are those of `task`.
    """

    def register(body: B) -> B:
        own = name or f"{type_name}:{getattr(body, '__name__', 'handler')}"
        registry: Registry = options.get("registry") or default_registry
        task(own, **options)(body)
        registry.add(replace(registry.get(own), handles=type_name))
        return body

    return register


def around(make: S) -> S:
    """`Registry.around` on the registry where `@task` registers."""
    return default_registry.around(make)


def surroundings_with(
    known: tuple[Callable[[Any], Any], ...], make: Any
) -> tuple[Callable[[Any], Any], ...]:
    """These and one more, the innermost; raises TypeError for what cannot be called."""
    if not callable(make):
        message = f"around({make!r}): give what makes a context manager of a TaskContext"
        raise TypeError(message)
    return known if make in known else (*known, make)


def import_task_modules(modules: Iterable[str]) -> None:
    """Import the modules that define task types; raises TaskModuleError."""
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


def _faults(error: ValidationError) -> list[Fault]:
    return [
        Fault(".".join(str(part) for part in fault["loc"]), fault["msg"])
        for fault in error.errors(include_input=False, include_url=False, include_context=False)
    ]


def _named(name: Any) -> str:
    return name if isinstance(name, str) else shown(name)


def _check_name(name: Any) -> None:
    reason = wrong_text(name, NAME_BYTES)
    if reason is not None or not name.strip() or any(c in name for c in _FORBIDDEN_IN_NAMES):
        advice = reason or "give text without '#', for example app.import"
        raise _wrong("name", f"{shown(name)} cannot name a task type: {advice}")


def _check_priority(priority: Any) -> None:
    if isinstance(priority, bool) or not isinstance(priority, int) or priority not in range(10):
        message = f"priority {shown(priority)} is out of range: 0 to 9, 9 is taken first"
        raise _wrong("priority", message)


def _check_retry(retry: Any) -> None:
    if not isinstance(retry, Retry | None):
        message = f"retry={retry!r} is no policy: give Retry(max_attempts=...)"
        raise TypeError(message)


def _check_queue(queue: Any) -> None:
    reason = None if queue is None else wrong_text(queue, QUEUE_BYTES)
    if reason is not None or (queue is not None and not queue.strip()):
        message = f"queue={shown(queue)} cannot name a queue: {reason or 'give text'}"
        raise _wrong("queue", message)


def _check_limits(timeout: timedelta | None, soft_timeout: timedelta | None) -> None:
    if timeout is not None and soft_timeout is not None and soft_timeout >= timeout:
        message = f"soft_timeout={soft_timeout} must be shorter than timeout={timeout}"
        raise ValueError(message)


def _texts(given: Any, what: str) -> tuple[str, ...]:
    """One text, or several, as a tuple."""
    several = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(one, str) and one for one in several):
        message = f"{what}={shown(given)}: give text, or a list of texts"
        raise TypeError(message)
    for one in several:
        if (reason := wrong_text(one)) is not None:
            raise _wrong(what, f"{shown(one)}: {reason}")
    return several


def _check_fields(
    name: str, option: str, fields: tuple[str, ...], model: type[BaseModel] | None
) -> None:
    known = set(model.model_fields) if model is not None else set(fields)
    missing = [field for field in fields if field not in known]
    if missing:
        message = (
            f"task type {name!r}: {option}={missing} are not fields of its input {sorted(known)}"
        )
        raise ValueError(message)


def _check_no_secrets(name: str, adapter: TypeAdapter[Any]) -> None:
    """Pydantic writes a SecretStr as stars: the body would get those, and the secret be lost."""
    try:
        schema = adapter.json_schema()
    except (PydanticUserError, PydanticInvalidForJsonSchema):
        return
    secret = _write_only(schema, "")
    if secret is not None:
        message = (
            f"task type {name!r}: {secret or 'its input'} is a secret, and an input is kept and "
            "shown: hand over where the secret is to be found"
        )
        raise TypeError(message)


def _write_only(schema: Any, path: str) -> str | None:
    """The place in a JSON schema of a value that may be written and never shown."""
    if isinstance(schema, Mapping):
        if schema.get("writeOnly") is True:
            return path
        parts: Iterable[tuple[Any, Any]] = schema.items()
    elif isinstance(schema, list):
        parts = enumerate(schema)
    else:
        return None
    structure = {"properties", "$defs", "anyOf", "allOf", "oneOf", "items"}
    for key, part in parts:
        named = path if key in structure or isinstance(key, int) else f"{path}.{key}".strip(".")
        found = _write_only(part, named)
        if found is not None:
            return found
    return None


def _duration(value: timedelta | float | None, what: str) -> timedelta | None:
    if value is None:
        return None
    try:
        duration = as_duration(value, what)
    except (TypeError, ValueError) as error:
        raise _wrong(what, f"{error}; it must be longer than zero") from None
    if not duration:
        raise _wrong(what, f"{what}={value} must be longer than zero")
    return duration


def _wrong(option: str, message: str) -> InvalidInput:
    return InvalidInput("the task type", [Fault(option, message)])
