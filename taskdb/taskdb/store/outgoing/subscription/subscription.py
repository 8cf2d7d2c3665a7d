"""Rows of subscriptions: created, listed, paused, replayed, removed. `notification` serves them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

from taskdb.errors import Fault, InvalidInput, SubscriptionExists, SubscriptionNotFound
from taskdb.model.entity import TaskKind
from taskdb.model.status import TaskStatus
from taskdb.model.subscription import (
    SUBJECT,
    EventFilter,
    SubscriptionEntity,
    SubscriptionState,
    TransportKind,
)
from taskdb.store.contract import Scope
from taskdb.store.engine.aside import unless_unreadable
from taskdb.store.engine.database import Database
from taskdb.store.engine.tables import subscription
from taskdb.store.engine.task_table import task_event
from taskdb.store.engine.types import moment
from taskdb.store.outgoing.transaction import ask, changing
from taskdb.store.task.list import EventCursor
from taskdb.store.task.task_id import is_id

Start = Literal["now", "beginning"] | datetime | EventCursor
"""Where to begin: at the end or the beginning of the history, at a moment, at a cursor."""
BEGINNING = EventCursor(0, 0)
_SHOWN = tuple(one for one in subscription.columns if "secret" not in one.name)
"""The columns without a secret: a read-only role has no right to the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubscription:
    """The definition of a subscription; `tenant` None is every tenant's."""

    name: str
    tenant: str | None
    transport: TransportKind
    target: str
    filter: EventFilter
    secret: str | None
    created_by: str | None


class Subscriptions:
    """The operations on subscription rows; each is limited to the tenants of a scope.

    Only a scope of every tenant sees a subscription of every tenant.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, new: NewSubscription, start: Start, scope: Scope) -> SubscriptionEntity:
        """Write a subscription that begins at `start`. Raises SubscriptionExists.

        Raises InvalidInput for a tenant out of the scope.
        """
        scope.require(new.tenant)
        subscription_id = str(uuid7())
        with changing(self._database) as (connection, now):
            cursor = self._beginning(connection, start)
            values = {
                "id": subscription_id,
                "name": new.name,
                "tenant": new.tenant or "",
                "is_for_all": new.tenant is None,
                "transport": str(new.transport),
                "target": new.target,
                "type": new.filter.type,
                "kind": new.filter.kind and str(new.filter.kind),
                "statuses": [str(status) for status in new.filter.statuses],
                "with_sub_tasks": new.filter.with_sub_tasks,
                "secret": new.secret,
                "state": str(SubscriptionState.ACTIVE),
                "cursor_xid": cursor.xid,
                "cursor_id": cursor.id,
                "attempts": 0,
                "sent": 0,
                "created_by": new.created_by,
                "created_at": now,
                "updated_at": now,
            }
            try:
                with connection.begin_nested():
                    connection.execute(insert(subscription).values(values))
            except IntegrityError:
                raise SubscriptionExists(new.name) from None
            return _one(connection, subscription_id)

    def get(self, reference: str, scope: Scope, tenant: str | None = None) -> SubscriptionEntity:
        """Return the subscription of this name or id. Raises SubscriptionNotFound.

        An id comes before a name. Raises InvalidInput if several tenants have subscriptions of the
        name: then give the tenant.
        """
        return self._database.read(lambda one: _entity(_find(one, reference, scope, tenant)))

    def all(
        self, scope: Scope, *, tenant: str | None = None, state: str | None = None
    ) -> list[SubscriptionEntity]:
        """Return all subscriptions, ordered by tenant and name."""
        statement = select(*_SHOWN).where(*_within(scope, tenant))
        if state is not None:
            statement = statement.where(subscription.c.state == state)
        ordered = statement.order_by(subscription.c.tenant, subscription.c.name)
        found = self._database.read(lambda one: one.execute(ordered).mappings().all())
        listed = []
        for row in found:
            with unless_unreadable(row, "taskdb_subscription", str(row["id"])):
                listed.append(_entity(row))
        return listed

    def secrets(self, subscription_id: str, scope: Scope) -> list[str]:
        """Return the secrets that are valid now, newest first. Raises SubscriptionNotFound."""
        with changing(self._database) as (connection, now):
            row = _find(connection, subscription_id, scope, None)
            return secrets_of(row, now)

    def rotate_secret(
        self, subscription_id: str, secret: str, overlap: timedelta, scope: Scope
    ) -> SubscriptionEntity:
        """Sign with this secret from now on, and with the previous one too during `overlap`."""
        with changing(self._database) as (connection, now):
            row = _find(connection, subscription_id, scope, None)
            keeps = overlap > timedelta(0)
            _write(
                connection,
                row["id"],
                secret=secret,
                previous_secret=row["secret"] if keeps else None,
                previous_until=now + overlap if keeps else None,
                updated_at=now,
            )
            return _one(connection, row["id"])

    def pause(self, subscription_id: str, scope: Scope) -> SubscriptionEntity:
        """Send nothing until the subscription is resumed; a running send may still arrive."""
        with changing(self._database) as (connection, now):
            row = _find(connection, subscription_id, scope, None)
            paused = str(SubscriptionState.PAUSED)
            _write(connection, row["id"], state=paused, lease_token=None, updated_at=now)
            return _one(connection, row["id"])

    def resume(
        self, subscription_id: str, scope: Scope, start: Start | None = None
    ) -> SubscriptionEntity:
        """Send again, also for a dead subscription, from where it stopped or from `start`."""
        with changing(self._database) as (connection, now):
            row = _find(connection, subscription_id, scope, None)
            moved: dict[str, Any] = {}
            if start is not None:
                cursor = self._beginning(connection, start)
                moved = {"cursor_xid": cursor.xid, "cursor_id": cursor.id, "cursor_at": None}
            _write(
                connection,
                row["id"],
                state=str(SubscriptionState.ACTIVE),
                attempts=0,
                failing_since=None,
                next_try_at=None,
                last_error=None,
                # A process that is sending must not overwrite this cursor with its older one.
                lease_token=None,
                lease_until=None,
                updated_at=now,
                **moved,
            )
            return _one(connection, row["id"])

    def remove(self, subscription_id: str, scope: Scope) -> None:
        """Delete a subscription. Raises SubscriptionNotFound."""
        with changing(self._database) as (connection, _now):
            row = _find(connection, subscription_id, scope, None)
            connection.execute(delete(subscription).where(subscription.c.id == row["id"]))

    def _beginning(self, connection: Connection, start: Start) -> EventCursor:
        if isinstance(start, EventCursor):
            return start
        if start == "beginning":
            return BEGINNING
        if start == "now":
            return _end_of_history(self._database, connection)
        first = (
            select(task_event.c.xid, task_event.c.id)
            .where(task_event.c.at >= start)
            .order_by(task_event.c.xid, task_event.c.id)
            .limit(1)
        )
        found = connection.execute(first).first()
        # Just before the first event, in the order of the history, since that time.
        return (
            _end_of_history(self._database, connection)
            if found is None
            else EventCursor(found.xid, found.id - 1)
        )


def _end_of_history(database: Database, connection: Connection) -> EventCursor:
    found = ask(database, connection, "end_of_history")[0]
    return EventCursor(found["xid"], found["id"])


def secrets_of(row: Any, now: datetime) -> list[str]:
    """The valid secrets of a row at this moment, newest first."""
    found = [] if row["secret"] is None else [row["secret"]]
    if row["previous_secret"] is not None and moment(row["previous_until"]) > now:
        found.append(row["previous_secret"])
    return found


def filter_of_row(row: Any) -> EventFilter:
    """The filter of a row; its statuses may still be JSON text."""
    listed = row["statuses"]
    statuses = json.loads(listed) if isinstance(listed, str) else listed
    return EventFilter(
        type=row["type"],
        kind=TaskKind(row["kind"]) if row["kind"] else None,
        statuses=tuple(TaskStatus(status) for status in statuses),
        with_sub_tasks=bool(row["with_sub_tasks"]),
    )


def _entity(row: RowMapping) -> SubscriptionEntity:
    names = {one.name for one in fields(SubscriptionEntity)}
    values = {name: value for name, value in row.items() if name in names}
    values |= {
        "id": str(row["id"]),
        "is_for_all": bool(row["is_for_all"]),
        "transport": TransportKind(row["transport"]),
        "filter": filter_of_row(row),
        "state": SubscriptionState(row["state"]),
        "cursor": str(EventCursor(row["cursor_xid"], row["cursor_id"])),
        "previous_secret_until": row["previous_until"],
        "created_at": moment(row["created_at"]),
        "updated_at": moment(row["updated_at"]),
    }
    return SubscriptionEntity(**values)


def _one(connection: Connection, subscription_id: str) -> SubscriptionEntity:
    statement = select(subscription).where(subscription.c.id == subscription_id)
    return _entity(connection.execute(statement).mappings().one())


def _write(connection: Connection, subscription_id: str, **values: Any) -> None:
    place = subscription.c.id == subscription_id
    connection.execute(update(subscription).where(place).values(values))


def _find(connection: Connection, reference: str, scope: Scope, tenant: str | None) -> RowMapping:
    place = subscription.c.name == reference
    if is_id(reference):
        place |= subscription.c.id == reference
    statement = select(subscription).where(place, *_within(scope, tenant))
    found = connection.execute(statement.order_by(subscription.c.tenant)).mappings().all()
    if not found:
        raise SubscriptionNotFound(reference)
    # A tenant may choose the id of another subscription as a name: an id comes before a name.
    found = [row for row in found if str(row["id"]) == reference] or found
    if len(found) > 1:
        whose = ", ".join("all" if row["is_for_all"] else repr(row["tenant"]) for row in found)
        advice = f"several subscriptions are named {reference!r} ({whose}): pass a tenant or an id"
        raise InvalidInput(SUBJECT, [Fault("tenant", advice)])
    return found[0]


def _within(scope: Scope, tenant: str | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if scope.tenants is not None:
        found += [subscription.c.is_for_all.is_(False), subscription.c.tenant.in_(scope.tenants)]
    if tenant is not None:
        found += [subscription.c.is_for_all.is_(False), subscription.c.tenant == tenant]
    return found
