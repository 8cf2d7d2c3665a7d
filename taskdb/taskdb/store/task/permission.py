"""The permission of a client with allow-lists to retry a task and the tasks below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement

from taskdb.model.entity import TaskEntity, TaskKind
from taskdb.model.principal.permission import LISTS, Permission
from taskdb.store.engine.database import Database
from taskdb.store.engine.task_table import task
from taskdb.store.task.statements import queries_of


def places_of(database: Database, found: TaskEntity) -> Iterator[Mapping[str, Any]]:
    """Yield the places of a task, of those below it, and of those that it may still create."""
    yield _place_of({name: getattr(found, name) for name in ("kind", *LISTS.values())})
    if found.spec is not None:
        yield from _places_in(found.spec)
        sql = queries_of(database.dialect, "task/permission").below
        below = database.query(sql, {"id": found.id}, writes=False)
        yield from (_place_of(row) for row in below)


def is_allowed(may_run: Permission) -> list[ColumnElement[bool]]:
    """Return the conditions of a permission. A parent has no queue, so only its type counts."""
    has_none = task.c.kind != TaskKind.TASK
    conditions: list[ColumnElement[bool]] = []
    for name, column in LISTS.items():
        allowed = getattr(may_run, name)
        if allowed is not None:
            is_listed = task.c[column].in_(allowed)
            conditions.append(is_listed if column == "type" else has_none | is_listed)
    return conditions


def _place_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the place of a task. A parent has no queue, so only its type counts."""
    names = LISTS.values() if row["kind"] == TaskKind.TASK else ("type",)
    return {name: row[name] for name in names}


def _places_in(spec: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the places of steps, parts and handlers that a parent may still create."""
    if isinstance(spec, list):
        for one in spec:
            yield from _places_in(one)
    elif isinstance(spec, Mapping):
        if "queue" in spec:
            yield {name: spec[name] for name in LISTS.values()}
        elif "part_type" in spec:
            yield {"type": spec["part_type"]}
        for one in spec.values():
            yield from _places_in(one)
