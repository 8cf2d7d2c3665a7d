"""Lists: filters as conditions, and keyset pages that stay stable at equal times."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    false,
    literal,
    or_,
    select,
    text,
    tuple_,
)

from taskdb.errors import Fault, InvalidInput
from taskdb.model.entity import TaskEvent
from taskdb.model.json_text import encode
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Scope
from taskdb.store.engine.dialect import StoreDialect
from taskdb.store.engine.task_table import task, task_event
from taskdb.store.task.filter import Filter
from taskdb.store.task.task_id import is_id

Order = Literal["newest", "oldest"]

_GARBAGE = (ValueError, TypeError, AttributeError, RecursionError, OverflowError)

_EQUAL = (
    "tenant",
    "type",
    "kind",
    "role",
    "queue",
    "unique_key",
    "request_id",
    "created_by",
)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, and the cursor behind the last one. Without events the cursor is unchanged."""

    events: tuple[TaskEvent, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place behind the last row of a page. Clients get it as opaque text."""

    created_at: datetime
    id: str

    def __str__(self) -> str:
        return _spell(self.created_at.isoformat(), self.id)

    @classmethod
    def parse(cls, spelled: str) -> Cursor:
        """Return the cursor of a text. Raises InvalidInput for any other text."""
        try:
            created_at, task_id = _unspell(spelled)
            # A row by plain SQL may have a time out of the bounds that callers must keep.
            return cls(_aware(datetime.fromisoformat(created_at)), _id(task_id))
        except _GARBAGE:
            raise _no_cursor("the list request") from None


@dataclass(frozen=True, slots=True)
class EventCursor:
    """The place behind the last event that was read. Clients get it as opaque text."""

    xid: int
    id: int

    def __str__(self) -> str:
        return _spell(self.xid, self.id)

    @classmethod
    def parse(cls, spelled: str) -> EventCursor:
        """Return the cursor of a text. Raises InvalidInput for any other text."""
        try:
            xid, event_id = _unspell(spelled)
            return cls(_whole(xid), _whole(event_id))
        except _GARBAGE:
            raise _no_cursor("the event request") from None


def _spell(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _unspell(spelled: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(spelled + "=" * (-len(spelled) % 4)))


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(moment)
    return moment.astimezone(UTC)


def _id(value: Any) -> str:
    return str(UUID(value))


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(value)
    return value


def _no_cursor(subject: str) -> InvalidInput:
    advice = "not a cursor: hand back the one that came with a page, unchanged"
    return InvalidInput(subject, [Fault("cursor", advice)])


def page_statement(
    chosen: Filter, scope: Scope, d: StoreDialect, limit: int, order: Order, after: Cursor | None
) -> Select[Any]:
    """Return the statement that selects the rows of one page."""
    place = tuple_(task.c.created_at, task.c.id)
    statement = select(task).where(*conditions(chosen, scope, d)).limit(limit)
    if order == "newest":
        statement = statement.order_by(task.c.created_at.desc(), task.c.id.desc())
    else:
        statement = statement.order_by(task.c.created_at, task.c.id)
    if after is None:
        return statement
    edge = tuple_(
        literal(after.created_at, task.c.created_at.type), literal(after.id, task.c.id.type)
    )
    return statement.where(place < edge if order == "newest" else place > edge)


def conditions(chosen: Filter, scope: Scope, d: StoreDialect) -> list[ColumnElement[bool]]:
    """Return the conditions of a row that is in a scope and matches a filter."""
    found: list[ColumnElement[bool]] = []
    if scope.tenants is not None:
        found.append(task.c.tenant.in_(scope.tenants))
    for name in _EQUAL:
        value = getattr(chosen, name)
        if value is not None:
            found.append(task.c[name] == value)
    if chosen.parent_id is not None:
        found.append(task.c.parent_id == chosen.parent_id if is_id(chosen.parent_id) else false())
    elif not chosen.with_sub_tasks:
        found.append(task.c.parent_id.is_(None))
    if chosen.status:
        found.append(has_status(chosen.status))
    if chosen.created_from is not None:
        found.append(task.c.created_at >= chosen.created_from)
    if chosen.created_before is not None:
        found.append(task.c.created_at < chosen.created_before)
    if chosen.search:
        found.append(_search(chosen.search))
    found.extend(_in_adoption(chosen))
    found.extend(_in_json(chosen, d))
    return found


def _in_adoption(chosen: Filter) -> list[ColumnElement[bool]]:
    if chosen.adopted is None:
        return []
    return [task.c.is_adopted if chosen.adopted else ~task.c.is_adopted]


def has_status(statuses: Iterable[TaskStatus]) -> ColumnElement[bool]:
    """Return the condition of these statuses as literals: a partial index needs literals."""
    listed = [literal(TaskStatus(status).value, Text, literal_execute=True) for status in statuses]
    return task.c.status.in_(listed)


def events_statement(after: EventCursor, scope: Scope, d: StoreDialect, limit: int) -> Select[Any]:
    """Return the statement for events behind a cursor, up to the oldest open transaction."""
    settled = text(d.is_settled("taskdb_event.xid"))
    statement = select(task_event).where(behind(after), settled).limit(limit)
    if scope.tenants is not None:
        statement = statement.where(task_event.c.tenant.in_(scope.tenants))
    return statement.order_by(task_event.c.xid, task_event.c.id)


def behind(after: EventCursor) -> ColumnElement[bool]:
    """Return the condition that an event is behind a cursor."""
    place = tuple_(task_event.c.xid, task_event.c.id)
    return place > tuple_(literal(after.xid, BigInteger), literal(after.id, BigInteger))


def _search(words: str) -> ColumnElement[bool]:
    escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = f"%{escaped}%"
    columns = (task.c.name, task.c.type, task.c.unique_key, task.c.request_id)
    return or_(*(column.ilike(pattern, escape="\\") for column in columns))


def _in_json(chosen: Filter, d: StoreDialect) -> list[ColumnElement[bool]]:
    wanted = [("tags", json.dumps([chosen.tag]))] if chosen.tag is not None else []
    if chosen.attributes:
        wanted.append(("attributes", encode(dict(chosen.attributes), "attributes")))
    return [
        and_(text(d.contains(f"taskdb_task.{column}", column)).bindparams(**{column: value}))
        for column, value in wanted
    ]
