"""The statement that reads the next notifications of a subscription."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Interval,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from taskdb.model.notification import ATTRIBUTE_LIMIT, RESULT_LIMIT
from taskdb.model.status import TaskStatus
from taskdb.model.subscription import EventFilter
from taskdb.store.engine.tables import task, task_event
from taskdb.store.task.list import EventCursor, behind, horizon_of

_EVENT = tuple(column.name for column in task_event.columns)


def notifications_statement(
    wanted: EventFilter,
    tenant: str | None,
    after: EventCursor,
    dialect: str,
    *,
    scan: int,
    limit: int,
) -> Select[Any]:
    """Select the next window of the history and its events that pass the filter, in order."""
    window = (
        select(task_event)
        .where(behind(after), *horizon_of(dialect))
        .order_by(task_event.c.xid, task_event.c.id)
        .limit(_number(scan))
        .cte("window_of_events")
    )
    edge = (
        select(window.c.xid, window.c.id, window.c.at)
        .order_by(window.c.xid.desc(), window.c.id.desc())
        .limit(1)
        .subquery("edge")
    )
    size = select(func.count()).select_from(window).scalar_subquery()
    sent = _in_order_of_their_task(window) if dialect == "postgresql" else window
    joined = window.join(task, task.c.id == window.c.task_id)
    if sent is not window:
        joined = joined.join(sent, true())
    fitting = (
        select(
            window.c.xid.label("place_xid"),
            window.c.id.label("place_id"),
            *(_sound(sent.c[name], dialect) for name in _EVENT),
            *_sent_columns(sent, dialect),
        )
        .select_from(joined)
        .where(*_conditions(wanted, tenant, sent))
        .order_by(window.c.xid, window.c.id, sent.c.id)
        .limit(_number(limit))
        .subquery("fitting")
    )
    return (
        select(
            edge.c.xid.label("edge_xid"),
            edge.c.id.label("edge_id"),
            edge.c.at.label("edge_at"),
            size.label("scanned"),
            *fitting.c,
        )
        .select_from(edge.outerjoin(fitting, true()))
        .order_by(fitting.c.place_xid, fitting.c.place_id, fitting.c.id)
    )


def _in_order_of_their_task(window: Any) -> Any:
    """Each event of the window, after the earlier events of its task.

    A transaction that moves several tasks gets its number with the first of them, and may wait for
    the last. Another transaction with a higher number may have moved that last task before. The
    event of that one is then sent with the event that followed it, not in the order of its number.
    """
    event, later = task_event.alias("sent"), task_event.alias("later")
    place = tuple_(window.c.xid, window.c.id)

    at = type_coerce(window.c.at, TIMESTAMP(timezone=True))
    day = literal_column("INTERVAL '1 day'", Interval)

    def near(one: Any) -> ColumnElement[bool]:
        # The bounds limit the search to few days of the history.
        return and_(one.c.at >= at - day, one.c.at <= at + day)

    is_told = (
        select(literal(1))
        .where(
            later.c.task_id == window.c.task_id,
            near(later),
            later.c.id > event.c.id,
            tuple_(later.c.xid, later.c.id) < place,
        )
        .correlate(window, event)
        .exists()
    )
    return (
        select(event)
        .where(
            event.c.task_id == window.c.task_id,
            near(event),
            event.c.id <= window.c.id,
            tuple_(event.c.xid, event.c.id) >= place,
            ~is_told,
        )
        .correlate(window)
        .lateral("sent_events")
    )


def _number(value: int) -> ColumnElement[int]:
    """A literal number: for a parameter the planner assumes a tenth of the history."""
    return literal(value, Integer, literal_execute=True)


def _sound(column: Any, dialect: str) -> Any:
    """A column of the history, NULL for text that is not JSON, which SQLite accepts."""
    if dialect != "sqlite" or column.name != "detail":
        return column
    return case((func.json_valid(column), column)).label(column.name)


def _sent_columns(sent: Any, dialect: str) -> list[Any]:
    """The columns of a task that a notification has; without values too large or not JSON."""
    fits = func.length(cast(task.c.attributes, Text)) <= ATTRIBUTE_LIMIT
    brings_result = and_(
        sent.c.to_status == TaskStatus.COMPLETED.value,
        task.c.status == TaskStatus.COMPLETED.value,
        task.c.attempt == sent.c.attempt,
        func.length(cast(task.c.result, Text)) <= RESULT_LIMIT,
    )
    if dialect == "sqlite":
        fits = and_(func.json_valid(task.c.attributes), fits)
        brings_result = and_(func.json_valid(task.c.result), brings_result)
    return [
        task.c.type,
        task.c.kind,
        task.c.parent_id,
        task.c.position,
        task.c.notify_id,
        case((fits, task.c.attributes)).label("attributes"),
        case((brings_result, task.c.result)).label("result"),
    ]


def _conditions(wanted: EventFilter, tenant: str | None, sent: Any) -> list[ColumnElement[bool]]:
    """The conditions: a change of status, of these tenants, that passes the filter."""
    found: list[ColumnElement[bool]] = [
        or_(sent.c.from_status.is_(None), sent.c.from_status != sent.c.to_status)
    ]
    if tenant is not None:
        found += [sent.c.tenant == tenant, task.c.tenant == tenant]
    if wanted.statuses:
        found.append(sent.c.to_status.in_([status.value for status in wanted.statuses]))
    if wanted.kind is not None:
        found.append(task.c.kind == wanted.kind.value)
    if not wanted.with_sub_tasks:
        found.append(task.c.parent_id.is_(None))
    if wanted.type is not None:
        found.append(_is_of_type(wanted.type))
    return found


def _is_of_type(wanted: str) -> ColumnElement[bool]:
    if not wanted.endswith("*"):
        return task.c.type == wanted
    # Not LIKE, which ignores case on SQLite.
    beginning = wanted[:-1]
    return func.substr(task.c.type, 1, len(beginning)) == beginning
