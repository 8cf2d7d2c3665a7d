"""Reads rows of alarms into values; statements that several parts of the alarms share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Text,
    delete,
    literal,
    or_,
    select,
)

from taskdb.logger import get_logger
from taskdb.model.alarm.alarm import (
    Alarm,
    AlarmDelivery,
    AlarmEntity,
    AlarmSource,
    AlarmState,
    MessageKind,
    Severity,
)
from taskdb.model.alarm.route import Route
from taskdb.model.duration import seconds_of
from taskdb.store.contract import Scope
from taskdb.store.engine.aside import unless_unreadable
from taskdb.store.engine.database import Database
from taskdb.store.engine.tables import alarm, alarm_policy, alarm_route
from taskdb.store.outgoing.transaction import ask

log = get_logger("taskdb.alarm")


def has_state(state: AlarmState) -> ColumnElement[bool]:
    """SQL: an alarm has this state, as a literal: a parameter matches no partial index."""
    return alarm.c.state == literal(state.value, Text, literal_execute=True)


def is_live() -> ColumnElement[bool]:
    """SQL: an alarm is not resolved, as a literal as well."""
    return alarm.c.state != literal(AlarmState.RESOLVED.value, Text, literal_execute=True)


def entity(row: RowMapping) -> AlarmEntity:
    """The alarm of a whole row."""
    values = {one.name: row[one.name] for one in fields(AlarmEntity)}
    values |= {
        "id": str(row["id"]),
        "source": AlarmSource(row["source"]),
        "severity": Severity(row["severity"]),
        "state": AlarmState(row["state"]),
        "is_regression": bool(row["is_regression"]),
        "is_routed": None if row["is_routed"] is None else bool(row["is_routed"]),
        "channels": tuple(row["channels"]),
        "task_ids": tuple(row["task_ids"]),
    }
    return AlarmEntity(**values)


def delivery_of(row: RowMapping) -> AlarmDelivery:
    """The message of a whole row, without its text."""
    values = {one.name: row[one.name] for one in fields(AlarmDelivery)}
    values |= {
        "id": str(row["id"]),
        "alarm_id": str(row["alarm_id"]),
        "kind": MessageKind(row["kind"]),
    }
    return AlarmDelivery(**values)


def within(scope: Scope, tenant: str | None = None) -> list[ColumnElement[bool]]:
    """SQL: the scope may see an alarm; only the operator sees alarms of all tenants together."""
    found: list[ColumnElement[bool]] = []
    if scope.tenants is not None:
        found.append(alarm.c.tenant.in_(scope.tenants))
    if tenant is not None:
        found.append(alarm.c.tenant == tenant)
    return found


# --- policies -------------------------------------------------------------------------------------


def policies(connection: Connection, types: Iterable[str] | None = None) -> dict[str, Alarm]:
    """The policies that these types declare, or all types."""
    statement = select(alarm_policy)
    if types is not None:
        statement = statement.where(alarm_policy.c.type.in_(list(types)))
    found = {}
    for row in connection.execute(statement).mappings():
        with unless_unreadable(row, "taskdb_alarm_policy", row["type"]):
            found[row["type"]] = _policy(row)
    return found


def _policy(row: RowMapping) -> Alarm:
    return Alarm(
        on=row["sources"],
        severity=row["severity"],
        to=row["channels"],
        group_by_tenant=None if row["group_by_tenant"] is None else bool(row["group_by_tenant"]),
        backlog=None if row["backlog_seconds"] is None else row["backlog_seconds"],
    )


def write_policy(
    database: Database, connection: Connection, type: str, policy: Alarm | None
) -> None:
    """Replace the policy of a type."""
    if policy is None:
        connection.execute(delete(alarm_policy).where(alarm_policy.c.type == type))
        return
    sources = None if policy.on is None else json.dumps([str(one) for one in policy.on])
    ask(
        database,
        connection,
        "declare_policy",
        type=type,
        sources=sources,
        severity=policy.severity and str(policy.severity),
        channels=json.dumps(policy.to),
        group_by_tenant=policy.group_by_tenant,
        backlog_seconds=seconds_of(policy.backlog),
    )


# --- routes ---------------------------------------------------------------------------------------


def routes(connection: Connection, scope: Scope) -> list[Route]:
    """The routes in the database, oldest first; a tenant sees those that it owns."""
    own = [] if scope.tenants is None else [alarm_route.c.owner.in_(scope.tenants)]
    return _routes(connection, *own)


def routes_of(connection: Connection, tenants: Iterable[str]) -> list[Route]:
    """The routes of the operator and of these tenants, oldest first."""
    owner = alarm_route.c.owner
    return _routes(connection, or_(owner.is_(None), owner.in_(list(tenants))))


def _routes(connection: Connection, *conditions: ColumnElement[bool]) -> list[Route]:
    statement = select(alarm_route).where(*conditions)
    statement = statement.order_by(alarm_route.c.created_at, alarm_route.c.id)
    found = []
    for row in connection.execute(statement).mappings():
        with unless_unreadable(row, "taskdb_alarm_route", str(row["id"])):
            found.append(_route(row))
    return found


def _route(row: RowMapping) -> Route:
    return Route(
        to=tuple(row["channels"]),
        tenant=row["tenant"],
        type=row["type"],
        severity=Severity(row["severity"]),
        source=None if row["source"] is None else AlarmSource(row["source"]),
        id=str(row["id"]),
        owner=row["owner"],
    )


def route_values(route: Route) -> dict[str, Any]:
    """The columns of a route."""
    return {
        "tenant": route.tenant,
        "type": route.type,
        "source": route.source and str(route.source),
        "severity": str(route.severity),
        "channels": list(route.to),
        "owner": route.owner,
    }
