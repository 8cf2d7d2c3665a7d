"""The Django app: add `taskdb.contrib.django` to INSTALLED_APPS, and settings to `TASKDB`.

``TaskDBBackend`` is the backend for Django's own task framework: `django.tasks`, or its backport
if Django has none yet. ``BackportBackend`` is always the backend for the backport.
"""

from __future__ import annotations

from typing import Any

__all__ = ["BackportBackend", "TaskDBBackend"]


def __getattr__(name: str) -> Any:
    # Django imports this package before its own settings and apps are there.
    if name in __all__:
        from taskdb.contrib.django.framework import backend  # noqa: PLC0415 - see above

        is_default = name == "TaskDBBackend"
        return backend.default_backend() if is_default else backend.backend_of(backend.BACKPORT)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
