"""Django's task framework and its backport, as far as they are here, each with the same tasks."""

import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from taskdb.contrib.django.framework.names import Framework, framework


@dataclass(frozen=True)
class Side:
    """One of the two, the backend that is ours there, and its tasks."""

    name: str
    alias: str
    known: Framework
    top: Any
    jobs: Any

    @property
    def backend(self) -> Any:
        return self.top.task_backends[self.alias]

    @property
    def invalid_task(self) -> Any:
        errors = import_module(f"{self.name}.exceptions")
        return getattr(errors, "InvalidTask", None) or errors.InvalidTaskError


def sides() -> list[str]:
    """The names of those that are here."""
    return [name for name in ("django.tasks", "django_tasks") if _is_here(name)]


def side(name: str) -> Side:
    alias = "default" if name == "django.tasks" else "backport"
    top = import_module(name)
    return Side(name, alias, framework(name), top, _jobs(name, alias, top))


def _is_here(name: str) -> bool:
    return find_spec(name) is not None


def _jobs(name: str, alias: str, top: Any) -> ModuleType:
    # Of the alias: the names of the two differ in a dot only.
    module_name = f"tests.django_site.jobs_of_{alias}"
    if module_name not in sys.modules:

        def decorator(function: Any = None, **options: Any) -> Any:
            made = top.task(backend=alias, **options)
            return made if function is None else made(function)

        spec = spec_from_file_location(module_name, Path(__file__).with_name("jobs.py"))
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        module.decorator = decorator  # type: ignore[attr-defined]
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    return sys.modules[module_name]
