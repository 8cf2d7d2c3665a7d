"""One set of names for Django's task framework and for its backport to older Django."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Framework:
    """The names that a backend needs from its framework."""

    name: str
    backend: Any
    result: Any
    status: Any
    error: Any
    context: Any
    default_queue: str
    invalid_backend: type[Exception]
    no_such_result: type[Exception]
    backends: Any
    enqueued: Any
    started: Any
    finished: Any
    normalize_json: Any


@cache
def framework(name: str) -> Framework:
    """Return `django.tasks` or `django_tasks`; raises ImportError if it is not installed."""
    top = import_module(name)
    base = import_module(f"{name}.base")
    errors = import_module(f"{name}.exceptions")
    signals = import_module(f"{name}.signals")
    json = import_module("django.utils.json" if name == "django.tasks" else f"{name}.utils")
    return Framework(
        name=name,
        backend=import_module(f"{name}.backends.base").BaseTaskBackend,
        result=base.TaskResult,
        status=base.TaskResultStatus,
        error=base.TaskError,
        context=base.TaskContext,
        default_queue=top.DEFAULT_TASK_QUEUE_NAME,
        invalid_backend=_either(errors, "InvalidTaskBackend", "InvalidTaskBackendError"),
        no_such_result=errors.TaskResultDoesNotExist,
        backends=top.task_backends,
        enqueued=signals.task_enqueued,
        started=signals.task_started,
        finished=signals.task_finished,
        normalize_json=json.normalize_json,
    )


def _either(module: Any, *names: str) -> Any:
    return next(getattr(module, name) for name in names if hasattr(module, name))
