"""`TASKDB = {...}` in Django's settings: our names without their prefix, and a few of Django's own.

Settings that it lacks come from the environment, and the database from `DATABASES`.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

from django.apps import apps
from django.conf import settings
from django.utils.module_loading import module_has_submodule

from taskdb.contrib.django import database
from taskdb.errors import SettingsError, did_you_mean
from taskdb.settings.file import PREFIX, SUFFIX, variable_of, with_files
from taskdb.settings.settings import Settings

SETTING = "TASKDB"

OWN = {
    "DATABASE": "Alias in DATABASES of the database that the rows live in.",
    "MIGRATE": "Whether `manage.py migrate` brings our tables up to date as well.",
    "AUTODISCOVER": "Whether the modules `tasks` of the installed apps define task types.",
    "ADMIN_TENANTS": "A function (or its path) of a request: the tenants that the admin shows it, "
    "None for all.",
}
"""The options of `TASKDB` that exist only in Django."""

TASKS_MODULE = "tasks"


class DjangoSettings:
    """Reads the settings of this package from Django's settings."""

    def read(self) -> dict[str, Any]:
        """Return them by the names of `Settings`; raises SettingsError."""
        given = said()
        found = {name.lower(): value for name, value in given.items() if name not in OWN}
        said_url = _said("database_url", found)
        if said_url:
            # Tests would write into the database that they stand in for.
            test_url = database.url_of_test(said_url, option("DATABASE"))
            if test_url is not None:
                found.pop(f"database_url{SUFFIX.lower()}", None)
                found["database_url"] = test_url
        else:
            alias = database.own_alias(option("DATABASE"))
            if alias is not None:
                found["database_url"] = database.url_of(alias)
        if option("AUTODISCOVER", default=True):
            found = {**found, "task_modules": (*_named_modules(found), *task_modules())}
            found.pop(f"task_modules{SUFFIX.lower()}", None)
        return found

    def stamp(self) -> Hashable:
        """Return a value that changes whenever the result of `read` would."""
        given = getattr(settings, SETTING, None) or {}
        return (id(given), repr(given), database.stamp(option("DATABASE")))


def said() -> Mapping[str, Any]:
    """Return the entries of `TASKDB` that are not None; SettingsError for unknown names."""
    given = getattr(settings, SETTING, None) or {}
    if not isinstance(given, Mapping):
        message = f"{SETTING} in Django's settings is a {type(given).__name__}: make it a dict"
        raise SettingsError(message)
    settings_of_all = {name.upper() for name in Settings.model_fields}
    known = settings_of_all | {f"{name}{SUFFIX}" for name in settings_of_all} | OWN.keys()
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        hints = (f"{name}{did_you_mean(_bare(name), known)}" for name in unknown)
        listed = ", ".join(hints)
        raise SettingsError(f"unknown setting in {SETTING} of Django's settings: {listed}")
    return {name: value for name, value in given.items() if value is not None}


def option(name: str, *, default: Any = None) -> Any:
    """Return one of the options that exist only in Django."""
    given = getattr(settings, SETTING, None) or {}
    value = given.get(name) if isinstance(given, Mapping) else None
    return default if value is None else value


def task_modules() -> list[str]:
    """Return the modules of the installed apps that may define task types."""
    return [
        f"{app.name}.{TASKS_MODULE}"
        for app in apps.get_app_configs()
        if app.module is not None and module_has_submodule(app.module, TASKS_MODULE)
    ]


def _said(field: str, found: Mapping[str, Any]) -> Any:
    """Return the value of a setting in `TASKDB`, else in the environment; None without one."""
    named = with_files(found, [field])[0].get(field)
    if named is None:
        named = with_files(os.environ, [field], prefix=PREFIX)[0].get(variable_of(field))
    return named


def _named_modules(found: Mapping[str, Any]) -> tuple[str, ...]:
    named = _said("task_modules", found) or ()
    if isinstance(named, str):
        return tuple(part.strip() for part in named.split(",") if part.strip())
    return tuple(named)


def _bare(name: str) -> str:
    return name.upper().removeprefix(PREFIX)
