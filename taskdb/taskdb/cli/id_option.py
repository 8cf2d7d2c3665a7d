"""Ids on the command line: the beginning of one is enough where no other id begins so."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from taskdb.cli.usage import wrong_usage
from taskdb.client.taskdb import TaskDB
from taskdb.model.id_prefix import id_ranges
from taskdb.store.engine.id_range import ids_within

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class IdOf:
    """Marks the annotation of a parameter that takes ids of this table, or also its names."""

    table: str
    has_names: bool = False


def ids_of(command: Callable[..., Any]) -> Mapping[str, IdOf]:
    """Return the marked parameters of a command."""
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    return {
        one.name: mark
        for one in parameters
        for mark in get_args(one.annotation)
        if isinstance(mark, IdOf)
    }


def whole_ids(taskdb: TaskDB, given: Any, kind: IdOf) -> Any:
    """Return a reference, or each of a list, with its whole id; None and others as they are.

    Raises InvalidInput for the beginning of several ids of the tenants that the client sees.
    """
    if isinstance(given, list):
        return [whole_ids(taskdb, one, kind) for one in given]
    ranges = id_ranges(given) if isinstance(given, str) else []
    if not ranges:
        return given
    found = ids_within(
        taskdb.store.database,
        kind.table,
        ranges,
        taskdb.scope.tenants,
        unless_named=given if kind.has_names else None,
        limit=_SHOWN + 1,
    )
    if len(found) > 1:
        more = ", …" if len(found) > _SHOWN else ""
        listed = f"{', '.join(found[:_SHOWN])}{more}"
        raise wrong_usage("", f"several ids begin with {given!r}, so write more of it: {listed}")
    return found[0] if found else given
