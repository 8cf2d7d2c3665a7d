"""`taskdb alarm …`: failures that people are notified of; acknowledge, snooze, resolve."""

from __future__ import annotations

from typing import Annotated

import typer

from taskdb.cli.alarm.presenter import ALARM, DELIVERY, alarm_presenter
from taskdb.cli.id_option import IdOf
from taskdb.cli.output import Output
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.time_option import from_now
from taskdb.cli.value_text import moment_text, payload_text
from taskdb.model.alarm.alarm import AlarmEntity, AlarmState

Reference = Annotated[
    str,
    typer.Argument(metavar="ALARM", help="Id or fingerprint of an alarm."),
    IdOf("taskdb_alarm"),
]
Note = Annotated[str | None, typer.Option("--note", help="A note, for other people.")]


@with_session
def list_alarms(
    session: Session,
    *,
    state: Annotated[
        list[AlarmState] | None, typer.Option("--state", help="Only these; may be repeated.")
    ] = None,
    type_name: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    undelivered: Annotated[
        bool, typer.Option("--undelivered", help="With unsent messages")
    ] = False,
    unrouted: Annotated[bool, typer.Option("--unrouted", help="Without a route.")] = False,
    limit: Annotated[int, typer.Option(help="Most alarms, 1 to 1,000.")] = 100,
    tenant: TenantOption = None,
) -> None:
    """List alarms that are not resolved, by last failure, newest first.

    With --json, one on each line. SENT TO names the channels, or states why there is none.
    """
    taskdb = session.taskdb_of(tenant)
    found = taskdb.alarms.list(
        state=state or (), type=type_name, undelivered=undelivered, unrouted=unrouted, limit=limit
    )
    errors = taskdb.alarms.errors([one.id for one in found])
    alarm_presenter(errors).print_all(session.output, found, "no such alarm")


@with_session
def show(session: Session, alarm: Reference, *, tenant: TenantOption = None) -> None:
    """Show an alarm, its last failure, and each message with its attempts."""
    taskdb = session.taskdb_of(tenant)
    one = taskdb.alarms.get(alarm)
    deliveries = taskdb.alarms.deliveries(one.id)
    output = session.output
    if output.is_json:
        sent = [DELIVERY.document(each) for each in deliveries]
        output.document({**ALARM.document(one), "deliveries": sent})
        return
    output.pairs(ALARM.pairs(one))
    traceback = str(one.sample.get("traceback", "")).strip()
    if traceback:
        output.line(f"\n{traceback}")
    if "input" in one.sample:
        output.line(f"\n{payload_text(one.sample['input'])}")
    if deliveries:
        output.line()
        DELIVERY.print_table(output, deliveries)


@with_session
def acknowledge(
    session: Session, alarm: Reference, *, note: Note = None, tenant: TenantOption = None
) -> None:
    """Acknowledge an alarm: no message is sent until it is resolved and fails again."""
    taskdb = session.taskdb_of(tenant)
    _print_changed(session.output, taskdb.alarms.acknowledge(alarm, note=note))


@with_session
def snooze(
    session: Session,
    alarm: Reference,
    until: Annotated[str, typer.Argument(metavar="UNTIL", help="A moment, or 30m, 8h, 2d.")],
    *,
    tenant: TenantOption = None,
) -> None:
    """Send no message of an alarm until a moment. Then one message counts the failures since."""
    moment = from_now(until, "UNTIL")
    _print_changed(session.output, session.taskdb_of(tenant).alarms.snooze(alarm, moment))


@with_session
def resolve(
    session: Session, alarm: Reference, *, note: Note = None, tenant: TenantOption = None
) -> None:
    """Resolve an alarm. If it fails again, a message is sent at once, as a regression."""
    taskdb = session.taskdb_of(tenant)
    _print_changed(session.output, taskdb.alarms.resolve(alarm, note=note))


@with_session
def test(
    session: Session,
    channel: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="A name in TASKDB_ALARM_CHANNELS.")
    ],
) -> None:
    """Send a trial message to a channel now, and report the result."""
    session.taskdb.alarms.test_channel(channel)
    session.output.result({"channel": channel, "sent": True}, f"{channel} took it")


def _print_changed(output: Output, alarm: AlarmEntity) -> None:
    until = f" until {moment_text(alarm.snoozed_until)}" if alarm.snoozed_until else ""
    output.result(ALARM.document(alarm), f"{alarm.id}  {alarm.state}{until}  {alarm.subject}")
