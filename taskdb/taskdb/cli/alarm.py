"""`taskdb alarm …`: what has failed and who was told; acknowledge, snooze, resolve; routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Output
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.time_option import from_now
from taskdb.cli.value_text import moment_text, payload_text, relative
from taskdb.client.taskdb import TaskDB
from taskdb.model.alarm.alarm import AlarmDelivery, AlarmEntity, AlarmSource, AlarmState, Severity
from taskdb.model.alarm.routing import Route
from taskdb.redaction.printable import printable

Reference = Annotated[str, typer.Argument(metavar="ALARM", help="Id or fingerprint of an alarm.")]
Note = Annotated[str | None, typer.Option("--note", help="For who looks later.")]

_STATE_STYLES = {
    AlarmState.OPEN: "bold red",
    AlarmState.ACKNOWLEDGED: "yellow",
    AlarmState.SNOOZED: "blue",
    AlarmState.RESOLVED: "green",
}


@with_session
def list_alarms(
    session: Session,
    *,
    state: Annotated[
        list[AlarmState] | None, typer.Option("--state", help="Only these; may be repeated.")
    ] = None,
    type_name: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    undelivered: Annotated[
        bool, typer.Option("--undelivered", help="With a message that has not gone out.")
    ] = False,
    unrouted: Annotated[
        bool, typer.Option("--unrouted", help="That no route takes: nobody was told.")
    ] = False,
    limit: Annotated[int, typer.Option(help="How many, 1 to 1,000.")] = 100,
    tenant: TenantOption = None,
) -> int:
    """List alarms that are not resolved, the one that was seen last first.

    With --json one a line. A mark tells of those that nobody could be told of yet.
    """
    taskdb = session.taskdb_of(tenant)
    found = taskdb.list_alarms(
        state=state or (),
        type=type_name,
        undelivered=undelivered,
        unrouted=unrouted,
        limit=limit,
    )
    errors = _waiting(taskdb, found)
    if session.is_json:
        for one in found:
            document = alarm_json(one)
            if one.id in errors:
                document["undelivered"] = errors[one.id] or "not tried yet"
            session.output.document(document)
        return ExitCode.OK
    if not found:
        session.output.note("no such alarm")
        return ExitCode.OK
    rows = [_row(one, errors) for one in found]
    headers = ("ALARM", "STATE", "SEVERITY", "COUNT", "SEEN", "WHAT", "TOLD")
    session.output.table(headers, rows)
    return ExitCode.OK


@with_session
def show(session: Session, alarm: Reference, *, tenant: TenantOption = None) -> int:
    """Show an alarm, its last failure, and each message with its attempts."""
    taskdb = session.taskdb_of(tenant)
    one = taskdb.get_alarm(alarm)
    deliveries = taskdb.alarm_deliveries(one.id)
    if session.is_json:
        told = [_plain(asdict(each)) for each in deliveries]
        session.output.document({**alarm_json(one), "deliveries": told})
        return ExitCode.OK
    output = session.output
    output.pairs(_pairs(one))
    traceback = str(one.sample.get("traceback", "")).strip()
    if traceback:
        output.line()
        for line in traceback.splitlines():
            output.line(printable(line))
    if "input" in one.sample:
        output.line()
        output.line(payload_text(one.sample["input"]))
    if deliveries:
        output.line()
        headers = ("MESSAGE", "CHANNEL", "COUNT", "ATTEMPTS", "SENT", "LAST ERROR")
        output.table(headers, [_delivery_row(each) for each in deliveries])
    return ExitCode.OK


@with_session
def acknowledge(
    session: Session, alarm: Reference, *, note: Note = None, tenant: TenantOption = None
) -> int:
    """Say that someone is at it: it counts on and tells nobody until it is resolved."""
    taskdb = session.taskdb_of(tenant)
    return _told(session.output, taskdb.acknowledge_alarm(alarm, note=note))


@with_session
def snooze(
    session: Session,
    alarm: Reference,
    until: Annotated[str, typer.Argument(metavar="UNTIL", help="A moment, or 30m, 8h, 2d.")],
    *,
    tenant: TenantOption = None,
) -> int:
    """Tell nobody of it until then; what came meanwhile is told then."""
    moment = from_now(until, "UNTIL")
    return _told(session.output, session.taskdb_of(tenant).snooze_alarm(alarm, moment))


@with_session
def resolve(
    session: Session, alarm: Reference, *, note: Note = None, tenant: TenantOption = None
) -> int:
    """Say that it is over; when it comes back it is told at once, as a regression."""
    taskdb = session.taskdb_of(tenant)
    return _told(session.output, taskdb.resolve_alarm(alarm, note=note))


@with_session
def test(
    session: Session,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="Of TASKDB_ALARM_CHANNELS.")],
) -> int:
    """Send a message over a channel now, and say what came of it."""
    session.taskdb.test_alarm_channel(channel)
    if session.is_json:
        session.output.document({"channel": channel, "sent": True})
    else:
        session.output.line(f"{printable(channel)} took it")
    return ExitCode.OK


@with_session
def add_route(
    session: Session,
    channels: Annotated[list[str], typer.Argument(metavar="CHANNEL...", help="Who is told.")],
    *,
    type_name: Annotated[
        str | None, typer.Option("--type", help="Of this type; a * at its end fits more.")
    ] = None,
    severity: Annotated[
        Severity, typer.Option("--severity", help="At least so bad.")
    ] = Severity.INFO,
    source: Annotated[
        AlarmSource | None, typer.Option("--source", help="Only what this raises.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Alarms of this tenant.")] = None,
) -> int:
    """Send alarms that fit to some channels, beside the routes of the settings.

    As soon as the operator has a route, an alarm that none takes goes nowhere and is listed as
    unrouted. Routes that a tenant's client has made add channels, and count for nothing else.
    """
    route_id = session.taskdb.add_alarm_route(
        channels, tenant=tenant, type=type_name, severity=severity, source=source
    )
    if session.is_json:
        session.output.document({"id": route_id})
    else:
        session.output.line(route_id)
    return ExitCode.OK


@with_session
def list_routes(session: Session, *, tenant: TenantOption = None) -> int:
    """List the routes of the settings and those that are rows; with --json one a line."""
    found = session.taskdb_of(tenant).alarm_routes()
    if session.is_json:
        for one in found:
            session.output.document(route_json(one))
        return ExitCode.OK
    if not found:
        names = ", ".join(one.name for one in session.settings.alarm_channels if not one.tenants)
        session.output.note(
            f"no route: every alarm goes to {names}"
            if names
            else "no route, and no channel: nobody is told; set TASKDB_ALARM_CHANNELS"
        )
        return ExitCode.OK
    session.output.table(
        ("ROUTE", "OWNER", "TO", "TENANT", "TYPE", "SEVERITY", "SOURCE"), _route_rows(found)
    )
    return ExitCode.OK


@with_session
def remove_route(
    session: Session,
    route: Annotated[str, typer.Argument(metavar="ROUTE", help="Id of a route.")],
    *,
    tenant: TenantOption = None,
) -> int:
    """Delete a route that is a row."""
    removed = session.taskdb_of(tenant).remove_alarm_route(route)
    if session.is_json:
        session.output.document({"removed": removed})
    elif removed:
        session.output.line(f"removed {printable(route)}")
    else:
        session.output.note("nothing was changed: there is no such route")
    return ExitCode.OK


def alarm_json(one: AlarmEntity) -> dict[str, Any]:
    """An alarm as data, moments as ISO text."""
    return _plain(asdict(one))


def route_json(one: Route) -> dict[str, Any]:
    """A route as data; `origin` tells where it stands."""
    return {**_plain(asdict(one)), "origin": "settings" if one.id is None else "row"}


def _waiting(taskdb: TaskDB, found: Sequence[AlarmEntity]) -> Mapping[str, str]:
    """Why messages of these have not gone out; '' where none was tried yet."""
    return taskdb.alarm_errors([one.id for one in found])


def _row(one: AlarmEntity, errors: Mapping[str, str]) -> tuple[str | Text, ...]:
    what = f"{one.subject}: {one.error_type or one.source}"
    return (
        one.id,
        Text(one.state.value, style=_STATE_STYLES[one.state]),
        one.severity.value,
        f"{one.count:,}",
        relative(one.last_seen_at),
        printable(what + (" (again)" if one.is_regression else "")),
        _told_text(one, errors),
    )


def _told_text(one: AlarmEntity, errors: Mapping[str, str]) -> str:
    if one.is_routed is False:
        return _unrouted_text(one)
    if one.id in errors:
        return printable(f"not yet: {errors[one.id] or 'not tried yet'}")
    return ", ".join(one.channels) or "-"


def _unrouted_text(one: AlarmEntity) -> str:
    added = ", ".join(one.channels)
    return f"{added}; the operator: no route takes it" if added else "nobody: no route takes it"


def _pairs(one: AlarmEntity) -> list[tuple[str, str | Text]]:
    shown: list[tuple[str, Any]] = [
        ("alarm", one.id),
        ("fingerprint", one.fingerprint),
        ("state", Text(one.state.value, style=_STATE_STYLES[one.state])),
        ("severity", one.severity.value),
        ("what", one.source.value),
        ("type", one.type),
        ("error", one.error_type),
        ("where", one.place),
        ("tenant", "all together" if one.tenant is None else one.tenant),
        ("message", one.message),
        ("count", f"{one.count:,} ({one.told:,} of them told)"),
        ("first seen", moment_text(one.first_seen_at)),
        ("last seen", moment_text(one.last_seen_at)),
        ("regression", "yes: it was resolved before" if one.is_regression else ""),
        ("snoozed until", one.snoozed_until and moment_text(one.snoozed_until)),
        ("resolved", one.resolved_at and moment_text(one.resolved_at)),
        ("by", one.acted_by),
        ("note", one.note),
        (
            "told",
            _unrouted_text(one) if one.is_routed is False else ", ".join(one.channels),
        ),
        ("tasks", ", ".join(one.task_ids)),
    ]
    return [
        (name, value if isinstance(value, Text) else printable(str(value)))
        for name, value in shown
        if value
    ]


def _delivery_row(one: AlarmDelivery) -> tuple[str, ...]:
    return (
        f"{one.sequence} {one.kind}",
        printable(one.channel),
        f"{one.count:,}",
        str(one.attempts),
        moment_text(one.sent_at) if one.sent_at else f"next try {relative(one.next_try_at)}",
        printable(one.last_error or "-"),
    )


def _route_rows(found: Sequence[Route]) -> list[tuple[str, ...]]:
    return [
        (
            one.id or "(settings)",
            "operator" if one.owner is None else printable(repr(one.owner)),
            ", ".join(one.to),
            "-" if one.tenant is None else printable(repr(one.tenant)),
            printable(one.type or "-"),
            one.severity.value,
            "-" if one.source is None else one.source.value,
        )
        for one in found
    ]


def _told(output: Output, one: AlarmEntity) -> int:
    if output.is_json:
        output.document(alarm_json(one))
    else:
        until = f" until {moment_text(one.snoozed_until)}" if one.snoozed_until else ""
        output.line(printable(f"{one.id}  {one.state}{until}  {one.subject}"))
    return ExitCode.OK


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _as_json(value) for name, value in values.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, StrEnum) else value
