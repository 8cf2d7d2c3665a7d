"""Makes a task type of each Django task: the path of its function is the name.

A type refers to its Django task. So a worker finds the function, and a result its task, even if
the name in the module refers to the bare function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from taskdb.errors import did_you_mean
from taskdb.model.retry import Retry
from taskdb.types.context import TaskContext
from taskdb.types.declaration import task
from taskdb.types.registry import default_registry
from taskdb.types.task_type import TaskType

_DEFAULT_PRIORITY = 5

Run = Callable[[Any, TaskContext, "Call"], Any]


class Call(BaseModel):
    """The input of such a task: the arguments of its function."""

    model_config = ConfigDict(extra="forbid")

    args: list[Any] = []
    kwargs: dict[str, Any] = {}


class DjangoBody:
    """The body of such a type: the Django task, and the function that runs it."""

    def __init__(self, django_task: Any, run: Run) -> None:
        self.task = django_task
        self._run = run
        self.__doc__ = django_task.func.__doc__

    def __call__(self, ctx: TaskContext, input: Call) -> Any:
        return self._run(self.task, ctx, input)


class TypeOptions:
    """`OPTIONS["types"]` of a backend: options of `@task` by the paths of functions.

    A path may have `*`; if several match, later ones add to earlier ones. Raises
    ValueError that names the fault.
    """

    _known = frozenset(
        {"retry", "timeout", "soft_timeout", "tags", "max_running", "max_starts", "per"}
    )

    def __init__(self, given: Any) -> None:
        if not isinstance(given, Mapping):
            message = f"OPTIONS['types'] is a {type(given).__name__}: make it a dict of dicts"
            raise ValueError(message)  # noqa: TRY004 - one error for every fault of the settings
        self._given = {
            pattern: self._checked(pattern, options) for pattern, options in given.items()
        }

    @classmethod
    def of_backend(cls, options: Mapping[str, Any]) -> Self:
        """Return the type options in the OPTIONS of a backend."""
        unknown = [str(name) for name in options if name != "types"]
        if unknown:
            raise ValueError(f"OPTIONS: no such option {unknown[0]!r}; there is 'types'")
        return cls(options.get("types", {}))

    def of(self, path: str) -> dict[str, Any]:
        """Return the options of the task at this path."""
        found: dict[str, Any] = {}
        for pattern, options in self._given.items():
            if fnmatchcase(path, pattern):
                found.update(options)
        return found

    def _checked(self, pattern: str, options: Any) -> dict[str, Any]:
        if not isinstance(options, Mapping):
            message = f"OPTIONS['types'][{pattern!r}] is a {type(options).__name__}: make it a dict"
            raise ValueError(message)  # noqa: TRY004 - as above
        unknown = [str(name) for name in options if name not in self._known]
        if unknown:
            hint = did_you_mean(unknown[0], self._known)
            raise ValueError(f"OPTIONS['types'][{pattern!r}]: no such option {unknown[0]!r}{hint}")
        return {**options, **_retry(pattern, options)}


def declare(django_task: Any, run: Run, options: TypeOptions) -> TaskType:
    """Return the type of this task, made at its first use; variants by `using` share it."""
    path = django_task.module_path
    known = default_registry.find(path)
    if known is not None and _is_of(known, django_task):
        return known
    task(path, input=Call, **options.of(path))(DjangoBody(django_task, run))
    return default_registry.get(path)


def task_of(type_name: str) -> Any | None:
    """Return the Django task of this type; None if it has none."""
    found = default_registry.find(type_name)
    body = None if found is None else found.body
    return body.task if isinstance(body, DjangoBody) else None


def priority_of(django_priority: int) -> int:
    """Convert one of Django's priorities (-100 to 100) in the same order; 0 is our default."""
    if django_priority == 0:
        return _DEFAULT_PRIORITY
    if django_priority < 0:
        return _DEFAULT_PRIORITY - 1 - (-django_priority - 1) // 20
    return _DEFAULT_PRIORITY + 1 + (django_priority - 1) // 25


def _is_of(known: TaskType, django_task: Any) -> bool:
    return isinstance(known.body, DjangoBody) and known.body.task.func is django_task.func


def _retry(pattern: str, options: Mapping[str, Any]) -> dict[str, Any]:
    given = options.get("retry")
    if given is None or isinstance(given, Retry):
        return {}
    try:
        return {"retry": Retry(**given)}
    except (TypeError, ValueError) as error:
        raise ValueError(f"OPTIONS['types'][{pattern!r}]['retry']: {error}") from None
