"""The declaration of a task type: `@task` and `@on_task`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

from taskdb.errors import Fault, InvalidInput
from taskdb.model.alarm.alarm import Alarm
from taskdb.model.bounds import NAME_BYTES, QUEUE_BYTES, as_duration, shown, wrong_text
from taskdb.model.limit import Limit
from taskdb.model.retry import ONCE, Retry
from taskdb.model.schedule.schedule import Schedule, named
from taskdb.types.registry import Registry, default_registry
from taskdb.types.signature import read_signature
from taskdb.types.task_type import Body, TaskType

B = TypeVar("B", bound=Body)

_FORBIDDEN_IN_NAMES = "#\x00\n\r"


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
    """Make a function the body of a task type. The function itself is not changed.

    `input` is a pydantic model, or any type that pydantic can validate. Without it the signature
    decides: a parameter named `ctx` or typed TaskContext gets the context; a single parameter
    named `input`, or typed with a model, gets the whole input; otherwise each parameter is a field
    of the input. Without `retry` a task has one attempt. `timeout` and `soft_timeout` are
    durations (timedelta or seconds). `priority` is 0 to 9; 9 runs first. `unique` names the
    fields whose values may exist only once among tasks of this type and tenant. Tasks of one type
    and tenant with equal values in the fields of `mutex` run one at a time, in order of arrival.
    At most `max_running` tasks of the type run at once over all workers, and at most `max_starts`
    start in any period of length `per`; a limit set by an operator overrides both. `on_join` (name
    or function of a type) runs after the parts of a fan-out of this type have ended well; its
    result becomes the result of the task. `schedule` submits the task repeatedly: a cron
    expression, a `Schedule`, or several. `alarm` (an `Alarm`) decides which failures of the type
    raise an alarm, and to which channels; False: none; without it the settings decide.
    Raises InvalidInput, ValueError or TypeError for wrong options, TaskAlreadyRegistered.
    """
    _check_name(name)
    _check_priority(priority)
    _check_retry(retry)
    _check_queue(queue)
    limits = (_duration(timeout, "timeout"), _duration(soft_timeout, "soft_timeout"))
    _check_limits(*limits)
    policies: dict[str, Any] = {
        "retry": retry or ONCE,
        "timeout": limits[0],
        "soft_timeout": limits[1],
        "queue": queue,
        "priority": priority,
        "unique": _texts(unique, "unique"),
        "mutex": _texts(mutex, "mutex"),
        "limit": Limit.of(max_running, max_starts, per),
        "tags": _texts(tags, "tags"),
        "on_join": on_join,
        "schedules": named(schedule, name),
        "alarm": Alarm.of(alarm),
    }
    known = default_registry if registry is None else registry
    return partial(_register, name, input, policies, known)


def on_task(type_name: str, *, name: str | None = None, **options: Any) -> Callable[[B], B]:
    """Make a function a further handler of a task type, beside the type's own body.

    When a body of that type has returned, its handlers run in parallel with the same input, as
    sub-tasks with their own retries. Meanwhile the task is FINISHED; it becomes COMPLETED when all
    handlers have ended well, and FAILED, with its result kept, when one has not. Handlers do not
    run after a body that fanned out; `on_join` does. `name` is the name of the handler's own type,
    by default `<type>:<function>`. The options are those of `task`.
    """

    def register(body: B) -> B:
        own = name or f"{type_name}:{getattr(body, '__name__', 'handler')}"
        registry: Registry = options.get("registry") or default_registry
        task(own, **options)(body)
        registry.add(replace(registry.get(own), handles=type_name))
        return body

    return register


def _register(name: str, input: Any, policies: dict[str, Any], registry: Registry, body: B) -> B:
    shape, adapter, model = read_signature(name, body, input)
    _check_fields(name, "unique", policies["unique"], model)
    _check_fields(name, "mutex", policies["mutex"], model)
    _check_no_secrets(name, adapter)
    description = inspect.getdoc(body) or ""
    registry.add(
        TaskType(
            name=name,
            body=body,
            shape=shape,
            adapter=adapter,
            model=model,
            description=description,
            **policies,
        )
    )
    return body


def _check_name(name: Any) -> None:
    reason = wrong_text(name, NAME_BYTES)
    if reason is not None or not name.strip() or any(c in name for c in _FORBIDDEN_IN_NAMES):
        advice = reason or "pass text without '#', for example app.import"
        raise _wrong("name", f"{shown(name)} cannot name a task type: {advice}")


def _check_priority(priority: Any) -> None:
    if isinstance(priority, bool) or not isinstance(priority, int) or priority not in range(10):
        message = f"priority {shown(priority)} is out of range: pass 0 to 9; 9 runs first"
        raise _wrong("priority", message)


def _check_retry(retry: Any) -> None:
    if not isinstance(retry, Retry | None):
        raise TypeError(f"retry={retry!r} is not a policy: pass Retry(max_attempts=...)")


def _check_queue(queue: Any) -> None:
    reason = None if queue is None else wrong_text(queue, QUEUE_BYTES)
    if reason is not None or (queue is not None and not queue.strip()):
        raise _wrong("queue", f"queue={shown(queue)} cannot name a queue: {reason or 'pass text'}")


def _check_limits(timeout: timedelta | None, soft_timeout: timedelta | None) -> None:
    if timeout is not None and soft_timeout is not None and soft_timeout >= timeout:
        raise ValueError(f"soft_timeout={soft_timeout} must be shorter than timeout={timeout}")


def _texts(given: Any, what: str) -> tuple[str, ...]:
    """Return one text, or several, as a tuple. Raises TypeError or InvalidInput."""
    several = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(one, str) and one for one in several):
        raise TypeError(f"{what}={shown(given)}: pass text, or a list of texts")
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
        raise ValueError(
            f"task type {name!r}: {option}={missing} are not fields of its input {sorted(known)}"
        )


def _check_no_secrets(name: str, adapter: TypeAdapter[Any]) -> None:
    """Refuse a SecretStr, which pydantic writes as stars: the secret would be lost."""
    try:
        schema = adapter.json_schema()
    except (PydanticUserError, PydanticInvalidForJsonSchema):
        return
    secret = _write_only(schema, "")
    if secret is not None:
        raise TypeError(
            f"task type {name!r}: {secret or 'its input'} is a secret, and an input is stored "
            "and shown: pass the place where the body finds the secret"
        )


def _write_only(schema: Any, path: str) -> str | None:
    """Return the path in a JSON schema of a value that must not be shown, or None."""
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
