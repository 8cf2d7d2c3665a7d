"""Actions of people on alarms: list, acknowledge, snooze, resolve, route; and pruning."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    cast,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from uuid_utils.compat import uuid7

from taskdb.errors import AlarmNotFound, Fault, InvalidInput
from taskdb.model.alarm.alarm import Alarm, AlarmDelivery, AlarmEntity, AlarmState
from taskdb.model.alarm.route import Route
from taskdb.store.contract import Scope
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.engine.tables import alarm, alarm_route, delivery, set_aside
from taskdb.store.outgoing.alarm.row import (
    delivery_of,
    entity,
    has_state,
    policies,
    route_values,
    routes,
    within,
    write_policy,
)
from taskdb.store.outgoing.transaction import changing
from taskdb.store.task.task_id import is_id

PRUNE_ALARMS = "prune_alarms"
MOST_ROUTES = 100
"""The most routes of a tenant: each pass that announces an alarm of the tenant reads them."""
_BATCH = 500


Channels = Collection[str] | None
"""The channels whose messages a caller may see; None is every channel."""


class Alarms:
    """The operations on alarm rows; each is limited to the tenants of a scope.

    A tenant sees the messages to its own channels, and no messages to the operator's channels.
    """

    def __init__(self, database: Database, aside: Aside) -> None:
        self._database = database
        self._aside = aside

    # --- reading ------------------------------------------------------------------------------

    def page(
        self,
        scope: Scope,
        *,
        states: Sequence[AlarmState] = (),
        tenant: str | None = None,
        type: str | None = None,
        undelivered: bool = False,
        unrouted: bool = False,
        limit: int = 100,
        channels: Channels = None,
    ) -> list[AlarmEntity]:
        """Return alarms, last seen first."""
        statement = select(alarm).where(*within(scope, tenant))
        if states:
            statement = statement.where(alarm.c.state.in_([str(one) for one in states]))
        if type is not None:
            statement = statement.where(alarm.c.type == type)
        if undelivered:
            waiting = (delivery.c.alarm_id == alarm.c.id, *_unsent(channels))
            statement = statement.where(exists().where(*waiting))
        if unrouted:
            statement = statement.where(
                alarm.c.is_routed.is_(False), alarm.c.state != AlarmState.RESOLVED.value
            )
        ordered = statement.order_by(alarm.c.last_seen_at.desc(), alarm.c.id.desc()).limit(limit)

        def read(connection: Connection) -> list[AlarmEntity]:
            return [entity(row) for row in connection.execute(ordered).mappings()]

        return self._database.read(read)

    def get(self, reference: str, scope: Scope) -> AlarmEntity:
        """Return the alarm of this id or fingerprint. Raises AlarmNotFound, also out of scope."""
        return self._database.read(lambda connection: _find(connection, reference, scope))

    def deliveries(
        self, alarm_id: str, scope: Scope, *, channels: Channels = None, limit: int = 50
    ) -> list[AlarmDelivery]:
        """Return the messages of an alarm, newest first."""
        statement = (
            select(delivery)
            .join(alarm, alarm.c.id == delivery.c.alarm_id)
            .where(alarm.c.id == alarm_id, *within(scope), *_to(channels))
            .order_by(delivery.c.sequence.desc(), delivery.c.channel)
            .limit(limit)
        )
        return self._database.read(
            lambda one: [delivery_of(row) for row in one.execute(statement).mappings()]
        )

    def undelivered(
        self, scope: Scope, *, channels: Channels = None, limit: int = 100
    ) -> list[AlarmDelivery]:
        """Return messages that their channel has not taken yet, oldest first."""
        statement = (
            select(delivery)
            .join(alarm, alarm.c.id == delivery.c.alarm_id)
            .where(*_unsent(channels), *within(scope))
            .order_by(delivery.c.created_at, delivery.c.id)
            .limit(limit)
        )
        return self._database.read(
            lambda one: [delivery_of(row) for row in one.execute(statement).mappings()]
        )

    def last_errors(
        self, alarm_ids: Sequence[str], scope: Scope, *, channels: Channels = None
    ) -> Mapping[str, str]:
        """Return why messages of these alarms were not sent, one reason an alarm."""
        ids = [one for one in map(str, alarm_ids) if is_id(one)]
        statement = (
            select(delivery.c.alarm_id, func.max(delivery.c.last_error).label("error"))
            .join(alarm, alarm.c.id == delivery.c.alarm_id)
            .where(alarm.c.id.in_(ids), *within(scope), *_unsent(channels))
            .group_by(delivery.c.alarm_id)
        )
        return self._database.read(
            lambda one: {str(row.alarm_id): row.error or "" for row in one.execute(statement)}
        )

    # --- acting -------------------------------------------------------------------------------

    def acknowledge(self, reference: str, scope: Scope, by: str | None, note: str | None) -> str:
        """Record that a person works on the alarm. Returns its id. A resolved one stays so."""
        return self._act(reference, scope, AlarmState.ACKNOWLEDGED, by, note)

    def snooze(
        self, reference: str, scope: Scope, until: datetime | timedelta, by: str | None
    ) -> str:
        """Send no message until then. Returns the id of the alarm. A resolved one stays so."""
        return self._act(reference, scope, AlarmState.SNOOZED, by, None, until)

    def resolve(self, reference: str, scope: Scope, by: str | None, note: str | None) -> str:
        """Resolve an alarm. Returns its id."""
        return self._act(reference, scope, AlarmState.RESOLVED, by, note)

    def _act(
        self,
        reference: str,
        scope: Scope,
        state: AlarmState,
        by: str | None,
        note: str | None,
        until: datetime | timedelta | None = None,
    ) -> str:
        with changing(self._database) as (connection, now):
            found = _find(connection, reference, scope)
            if found.state is AlarmState.RESOLVED:
                return found.id
            values: dict[str, Any] = {
                "state": str(state),
                "snoozed_until": now + until if isinstance(until, timedelta) else until,
                "acted_by": by,
                "acted_for": None if scope.tenants is None else found.tenant,
                "acted_at": now,
                "note": note,
            }
            if state is AlarmState.ACKNOWLEDGED:
                values["reported"] = alarm.c.count
            if state is AlarmState.RESOLVED:
                # If it recurs, it is announced at once, also within an open window.
                values |= {"reported": alarm.c.count, "resolved_at": now, "window_until": None}
                values["evidence"] = []
            place = (alarm.c.id == found.id, alarm.c.state != AlarmState.RESOLVED.value)
            connection.execute(update(alarm).where(*place).values(values))
            return found.id

    # --- routes and policies ------------------------------------------------------------------

    def routes(self, scope: Scope) -> list[Route]:
        """Return the routes in the database; a tenant sees its own."""
        return self._database.read(lambda connection: routes(connection, scope))

    def add_route(self, route: Route, scope: Scope, by: str | None) -> str:
        """Write a route. Returns its id.

        Raises InvalidInput for an owner out of the scope, and for a tenant with 100 routes.
        """
        scope.require(route.owner)
        route_id = str(uuid7())
        own = select(func.count()).where(alarm_route.c.owner == route.owner)
        with changing(self._database) as (connection, now):
            if route.owner is not None and connection.execute(own).scalar_one() >= MOST_ROUTES:
                advice = f"a tenant may have {MOST_ROUTES} routes: remove one first"
                raise InvalidInput("the route", [Fault("", advice)])
            values = {"id": route_id, "created_by": by, "created_at": now, **route_values(route)}
            connection.execute(insert(alarm_route).values(values))
        return route_id

    def remove_route(self, route_id: str, scope: Scope) -> bool:
        """Delete a route; False if there is none."""
        if not is_id(route_id):
            return False
        statement = delete(alarm_route).where(alarm_route.c.id == route_id)
        if scope.tenants is not None:
            statement = statement.where(alarm_route.c.owner.in_(scope.tenants))
        with changing(self._database) as (connection, _now):
            return connection.execute(statement).rowcount > 0

    def declare(self, declared: Mapping[str, Alarm | None]) -> None:
        """Write the policies that code declares for its types; None deletes a policy."""
        known = self._database.read(lambda connection: policies(connection, declared))
        changed = {name: one for name, one in declared.items() if known.get(name) != one}
        if not changed:
            return
        with self._database.transaction() as connection:
            for name, policy in sorted(changed.items()):
                write_policy(self._database, connection, name, policy)

    def policies(self) -> Mapping[str, Alarm]:
        """Return the declared policies by type."""
        return self._database.read(policies)

    # --- pruning ------------------------------------------------------------------------------

    def prune(self, keep: timedelta) -> int:
        """Delete some alarms resolved, and messages sent, before `keep` ago. Returns the count."""
        with changing(self._database) as (connection, now):
            gone = (
                select(alarm.c.id)
                .where(has_state(AlarmState.RESOLVED))
                .where(alarm.c.resolved_at < now - keep, _is_not_aside(alarm.c.id, now))
                .limit(_BATCH)
            )
            ids = [row.id for row in connection.execute(gone)]
            old = (
                select(delivery.c.id)
                .where(delivery.c.sent_at < now - keep, delivery.c.sent_at.is_not(None))
                .where(_is_not_aside(delivery.c.id, now))
                .limit(_BATCH)
            )
            messages = [row.id for row in connection.execute(old)]
        counts = self._aside.batch(PRUNE_ALARMS, ids, self._delete_alarms)
        counts += self._aside.batch(PRUNE_ALARMS, messages, self._delete_messages)
        if not sum(counts):
            self._aside.over(PRUNE_ALARMS, 0.0)
        return sum(counts)

    def _delete_alarms(self, ids: Sequence[str]) -> list[int]:
        with changing(self._database) as (connection, _now):
            # An alarm that has opened again meanwhile stays.
            still = select(alarm.c.id).where(
                alarm.c.id.in_(ids), alarm.c.state == AlarmState.RESOLVED.value
            )
            locked = still.with_for_update(skip_locked=True)
            gone = [row.id for row in connection.execute(locked)]
            places = (
                delete(delivery).where(delivery.c.alarm_id.in_(gone)),
                delete(alarm).where(alarm.c.id.in_(gone)),
            )
            return [connection.execute(statement).rowcount for statement in places]

    def _delete_messages(self, ids: Sequence[str]) -> list[int]:
        with changing(self._database) as (connection, _now):
            gone = delete(delivery).where(delivery.c.id.in_(ids))
            return [connection.execute(gone).rowcount]


def _to(channels: Channels) -> list[ColumnElement[bool]]:
    return [] if channels is None else [delivery.c.channel.in_(list(channels))]


def _unsent(channels: Channels) -> list[ColumnElement[bool]]:
    return [delivery.c.sent_at.is_(None), *_to(channels)]


def _is_not_aside(column: ColumnElement[Any], now: datetime) -> ColumnElement[bool]:
    aside = select(set_aside.c.key).where(
        set_aside.c.loop == PRUNE_ALARMS, set_aside.c.next_try_at > now
    )
    return cast(column, Text).not_in(aside)


def _find(connection: Connection, reference: str, scope: Scope) -> AlarmEntity:
    place = alarm.c.id == reference if is_id(reference) else alarm.c.fingerprint == reference
    statement = select(alarm).where(place, *within(scope))
    found = connection.execute(statement).mappings().first()
    if found is None:
        raise AlarmNotFound(reference)
    return entity(found)
