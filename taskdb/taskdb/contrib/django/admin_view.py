"""The values that the admin's pages show, and the tenants that a user may see."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.module_loading import import_string

from taskdb.client.default import default_taskdb
from taskdb.client.taskdb import TaskDB
from taskdb.contrib.django.configuration import option
from taskdb.errors import SettingsError, TaskDBError
from taskdb.model.entity import TaskEntity
from taskdb.model.status import MOVES, RETRIED_IN_BULK, TaskStatus

SHOWN_PARTS = 100
"""The most sub-tasks on the page of their parent."""
SHOWN_CHARACTERS = 20_000
"""The most characters of an input or a result."""

RETRIABLE = frozenset(
    {TaskStatus.FAILED, TaskStatus.HALTED, TaskStatus.CANCELED, TaskStatus.COMPLETED}
)
"""The statuses in which a page offers a retry."""

ONLY_FORCED = MOVES["retry"].sources - RETRIED_IN_BULK
"""The statuses that a bulk retry includes only with `force`."""

_COLOURS = {
    TaskStatus.COMPLETED: "#2e7d32",
    TaskStatus.FAILED: "#c62828",
    TaskStatus.HALTED: "#c62828",
    TaskStatus.ERRORED: "#b26a00",
    TaskStatus.CANCELED: "#616161",
    TaskStatus.STARTED: "#1565c0",
    TaskStatus.PROCESSING: "#1565c0",
    TaskStatus.FINISHED: "#1565c0",
}
_WAITING = "#5e35b1"


def allowed_tenants(request: HttpRequest) -> tuple[str, ...] | None:
    """Return the tenants whose tasks this user may see; None means all.

    Raises SettingsError if the setting returns a text: each letter would be a tenant.
    """
    choose = option("ADMIN_TENANTS")
    if choose is None:
        return None
    chosen = (import_string(choose) if isinstance(choose, str) else choose)(request)
    if isinstance(chosen, str | bytes):
        message = "TASKDB['ADMIN_TENANTS'] answered a text: answer a list of tenants, or None"
        raise SettingsError(message)
    return None if chosen is None else tuple(chosen)


def client_for(request: HttpRequest) -> TaskDB:
    """Return a client for the tenants of this user."""
    tenants = allowed_tenants(request)
    taskdb = default_taskdb()
    if tenants is None:
        return taskdb
    # A user who may see no tenant gets a scope with a tenant that does not exist.
    return taskdb.for_tenant(*(tenants or (_NOBODYS,)))


_NOBODYS = "\N{EMPTY SET} no tenant"


def badge(status: str) -> str:
    """Return a status in its colour, as HTML."""
    colour = _COLOURS.get(TaskStatus(status), _WAITING)
    style = f"background:{colour};color:#fff;border-radius:4px;padding:1px 7px;font-size:11px"
    return str(format_html('<span style="{}">{}</span>', style, str(status)))


def shown(read: Callable[[], Any]) -> str:
    """Return a value as text; if it cannot be read, the reason."""
    try:
        value = read()
    except (TaskDBError, OSError) as error:
        return f"({error})"
    if value is None:
        return ""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    left = len(text) - SHOWN_CHARACTERS
    return text if left <= 0 else f"{text[:SHOWN_CHARACTERS]}\n… {left:,} characters more"


def explained(taskdb: TaskDB, entity: TaskEntity) -> str:
    """Explain in one line why a task is where it is; empty for a task that has ended."""
    if entity.status.is_terminal:
        return ""
    try:
        found = taskdb.explain_task(entity.id)
    except TaskDBError as error:
        return str(error)
    said = f"{found.sentence}. {found.advice}".strip(". ") + "."
    return said[:1].upper() + said[1:]


def parts_of(taskdb: TaskDB, entity: TaskEntity) -> list[TaskEntity]:
    """Return the first sub-tasks of a task."""
    return [] if entity.spec is None else taskdb.trees.sub_tasks(entity.id, limit=SHOWN_PARTS)
