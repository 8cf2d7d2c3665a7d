"""At home in Django: name `taskdb.contrib.django` in INSTALLED_APPS, and settings in `TASKDB`.

``TaskDBBackend`` is the backend of Django's own task framework: of `django.tasks`, or where Django
has none yet, of its backport. ``BackportBackend`` is that of the backport wherever it is used.
"""

from __future__ import annotations

from typing import Any

__all__ = ["BackportBackend", "TaskDBBackend"]


def __getattr__(name: str) -> Any:
    # Django imports this package before its own settings and apps are there.
    if name in __all__:
        from taskdb.contrib.django.framework import backend  # noqa: PLC0415 - as just said

        is_default = name == "TaskDBBackend"
        return backend.default_backend() if is_default else backend.backend_of(backend.BACKPORT)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
