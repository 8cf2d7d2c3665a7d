"""`taskdb alarm route …`: routes from alarms to channels."""

from __future__ import annotations

from typing import Annotated

import typer

from taskdb.cli.alarm.presenter import ROUTE
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.model.alarm.alarm import AlarmSource, Severity


@with_session
def add_route(
    session: Session,
    channels: Annotated[
        list[str], typer.Argument(metavar="CHANNEL...", help="Channels to send to.")
    ],
    *,
    type_name: Annotated[
        str | None, typer.Option("--type", help="Only this type, or a prefix such as mail.*")
    ] = None,
    severity: Annotated[
        Severity, typer.Option("--severity", help="The lowest severity.")
    ] = Severity.INFO,
    source: Annotated[
        AlarmSource | None, typer.Option("--source", help="Only from this source.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only of this tenant.")] = None,
) -> None:
    """Send matching alarms to some channels, in addition to the routes of the settings.

    Without any route, alarms go to every channel. With one, an alarm that matches no route is not
    sent, and is listed as unrouted. Routes of a tenant's client only add channels.
    """
    route_id = session.taskdb.alarms.add_route(
        channels, tenant=tenant, type=type_name, severity=severity, source=source
    )
    session.output.result({"id": route_id}, route_id)


@with_session
def list_routes(session: Session, *, tenant: TenantOption = None) -> None:
    """List the routes of the settings and of the database. With --json, one on each line."""
    names = ", ".join(one.name for one in session.settings.alarm_channels if not one.tenants)
    nothing = (
        f"no route: every alarm goes to {names}"
        if names
        else "no route, and no channel: no alarm is sent; set TASKDB_ALARM_CHANNELS"
    )
    ROUTE.print_all(session.output, session.taskdb_of(tenant).alarms.routes(), nothing)


@with_session
def remove_route(
    session: Session,
    route: Annotated[str, typer.Argument(metavar="ROUTE", help="Id of a route.")],
    *,
    tenant: TenantOption = None,
) -> None:
    """Delete a route of the database."""
    removed = session.taskdb_of(tenant).alarms.remove_route(route)
    if removed or session.is_json:
        session.output.result({"removed": removed}, f"removed {route}")
    else:
        session.output.note("nothing was changed: there is no such route")
