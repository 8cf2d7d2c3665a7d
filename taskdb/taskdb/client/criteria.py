"""The criteria that choose tasks, for a list or a bulk change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, TypedDict

from taskdb.errors import Fault, InvalidInput, did_you_mean
from taskdb.model.bounds import shown, wrong_text
from taskdb.model.clock import require_aware
from taskdb.model.entity import TaskKind, TaskRole
from taskdb.model.json_text import encode
from taskdb.model.status import RETRIED_IN_BULK, TaskStatus, in_order
from taskdb.store.task.filter import Filter


class Criteria(TypedDict, total=False):
    """The criteria that select tasks; a task must meet all of them.

    Sub-tasks are left out unless `parent_id` or `with_sub_tasks` asks for them. `adopted`: only
    tasks of tracked Celery apps, or only others. `search` finds text in name, type, unique key
    and request id. All `attributes` must be equal.
    """

    tenant: str | None
    type: str | None
    status: TaskStatus | str | Iterable[TaskStatus | str]
    kind: TaskKind | str | None
    role: TaskRole | str | None
    parent_id: str | None
    queue: str | None
    tag: str | None
    unique_key: str | None
    request_id: str | None
    created_by: str | None
    created_from: datetime | None
    created_before: datetime | None
    search: str | None
    attributes: Mapping[str, Any]
    with_sub_tasks: bool
    adopted: bool | None


def filter_of(criteria: Criteria) -> Filter:
    """Return the filter for these criteria; raises InvalidInput that names every fault."""
    known = {field.name for field in fields(Filter)}
    faults = [
        Fault(name, f"no such criterion{did_you_mean(name, known)}")
        for name in criteria
        if name not in known
    ]
    values: dict[str, Any] = {name: value for name, value in criteria.items() if value is not None}
    for name, value in list(values.items()):
        try:
            convert: Callable[[Any], Any] = _CONVERTED.get(name, _text)
            values[name] = convert(value)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            faults.append(Fault(name, str(error)))
    if values.get("search") == "":
        # An empty search box must not count as the criterion that a bulk request needs.
        del values["search"]
    if faults:
        raise InvalidInput("the list request", faults)
    return Filter(**values)


def ended_badly(chosen: Filter) -> Filter:
    """Return the filter for a bulk retry; raises InvalidInput for a status it may not retry."""
    beyond = in_order(set(chosen.status) - RETRIED_IN_BULK)
    if beyond:
        usual = ", ".join(in_order(RETRIED_IN_BULK))
        advice = (
            f"{', '.join(beyond)} is not run again by a bulk retry, only {usual}: force it"
            " (retry_tasks(..., force=True), taskdb retry --force) if you mean it"
        )
        raise InvalidInput("the bulk request", [Fault("status", advice)])
    return replace(chosen, status=chosen.status or tuple(sorted(RETRIED_IN_BULK)))


def _statuses(given: TaskStatus | str | Iterable[TaskStatus | str]) -> tuple[TaskStatus, ...]:
    several = [given] if isinstance(given, str) else list(given)
    if not several:
        raise ValueError("names no status at all: leave it out to mean any")
    return tuple(_status(one) for one in several)


def _status(given: str) -> TaskStatus:
    try:
        return TaskStatus(given.upper())
    except ValueError:
        known = [status.value for status in TaskStatus]
        message = f"{shown(given)} is not a status{did_you_mean(given.upper(), known)}"
        raise ValueError(message) from None


def _text(given: Any) -> str:
    reason = wrong_text(given)
    if reason is not None:
        raise ValueError(reason)
    return str(given)


def _moment(given: Any) -> datetime:
    if not isinstance(given, datetime):
        raise TypeError(f"{shown(given)} is not a datetime")
    return require_aware(given, "this moment")


def _attributes(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{shown(given)} is not a mapping")
    encode(given, "this mapping")
    return dict(given)


_CONVERTED: Mapping[str, Callable[[Any], Any]] = {
    "status": _statuses,
    "kind": TaskKind,
    "role": TaskRole,
    "created_from": _moment,
    "created_before": _moment,
    "attributes": _attributes,
    "with_sub_tasks": bool,
    "adopted": bool,
}
