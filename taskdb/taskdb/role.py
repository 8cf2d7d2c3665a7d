"""Roles: functions of the packages above this one, by name: `worker`, `beat` and others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from taskdb.errors import SettingsError

GROUP = "taskdb.roles"


@cache
def load_role(name: str) -> Callable[..., Any]:
    """Return the function of a role. Raises SettingsError if it is not installed."""
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        advice = f"the role {name!r} is not installed: pip install --force-reinstall celery-taskdb"
        raise SettingsError(advice)
    role: Callable[..., Any] = found[0].load()
    return role
