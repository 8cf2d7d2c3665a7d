"""Announcing: finds open alarms that get a message now, and writes a row for each channel.

An alarm with new occurrences is announced when its window is over: at once the first time, then
once a window, with the count. An alarm that no route takes is checked again after the next window.

Routes of a tenant add channels. They never change the messages to the operator's channels: an alarm
that only a tenant's route takes still counts as unrouted for the operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, Text, cast, func, insert, or_, select, update
from sqlalchemy.exc import DBAPIError
from uuid_utils.compat import uuid7

from taskdb.model.alarm.alarm import Alarm, AlarmEntity, AlarmState, MessageKind
from taskdb.model.alarm.message import message_of
from taskdb.model.alarm.route import AlarmRules, Route
from taskdb.store.engine.aside import is_of_a_row
from taskdb.store.engine.tables import alarm, delivery, set_aside
from taskdb.store.outgoing.alarm.row import entity, has_state, policies, routes_of

ANNOUNCE = "announce"
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Announced:
    """The number of new messages, and the ids of alarms that no route takes."""

    messages: int = 0
    unrouted: tuple[str, ...] = ()
    is_full: bool = False
    failed: tuple[tuple[str, Exception], ...] = ()
    """Ids of alarms that a careful pass could not announce, each with its error."""


def announce(
    connection: Connection, rules: AlarmRules, now: datetime, *, is_careful: bool = False
) -> Announced:
    """Write the messages that are due.

    A process without channels writes none: another one may have some. With `is_careful` savepoints
    leave out an alarm that cannot be announced.
    """
    if is_careful:
        with suppress(DBAPIError), connection.begin_nested():
            # If one of them cannot be woken, the open alarms are still announced.
            _wake_snoozed(connection, now)
    else:
        _wake_snoozed(connection, now)
    if not rules.channels and not rules.tenant_channels:
        return Announced(unrouted=_without_channels(connection))
    aside = select(set_aside.c.key).where(
        set_aside.c.loop == ANNOUNCE, set_aside.c.next_try_at > now
    )
    due = (
        select(alarm)
        .where(
            has_state(AlarmState.OPEN),
            alarm.c.count > alarm.c.reported,
            or_(alarm.c.window_until.is_(None), alarm.c.window_until <= now),
            cast(alarm.c.id, Text).not_in(aside),
        )
        .order_by(alarm.c.id)
        .limit(_BATCH)
    )
    # The next pass announces alarms that another transaction has locked: passes never wait.
    found = connection.execute(due.with_for_update(skip_locked=True)).mappings().all()
    if not found:
        return Announced()
    declared = policies(connection, {row["type"] for row in found})
    further = routes_of(connection, {row["tenant"] for row in found if row["tenant"] is not None})
    messages = 0
    unrouted: list[str] = []
    failed: list[tuple[str, Exception]] = []
    for row in found:
        try:
            with connection.begin_nested() if is_careful else nullcontext():
                written, is_routed = _announce_one(connection, rules, row, (declared, further), now)
        except Exception as error:
            if not is_careful or not is_of_a_row(error):
                raise
            failed.append((str(row["id"]), error))
        else:
            messages += written
            unrouted += [] if is_routed else [str(row["id"])]
    return Announced(messages, tuple(unrouted), len(found) == _BATCH, tuple(failed))


def _announce_one(
    connection: Connection,
    rules: AlarmRules,
    row: RowMapping,
    known: tuple[Mapping[str, Alarm], Sequence[Route]],
    now: datetime,
) -> tuple[int, bool]:
    """Write the messages of one alarm.

    Returns their number, and whether a route of the operator takes the alarm.
    """
    one = entity(row)
    declared, further = known
    policy = declared.get(one.type)
    channels = policy.to if policy and policy.to else rules.channels_of(one, further)
    added = [name for name in rules.added_channels_of(one, further) if name not in channels]
    due = dict.fromkeys(channels, one.reported)
    due |= {name: _reported(connection, one, name) for name in added}
    due = {channel: reported for channel, reported in due.items() if reported < one.count}
    for channel, reported in due.items():
        _write(connection, row, one, channel, reported)
    values = {
        "window_until": now + rules.window,
        "is_routed": bool(channels),
        "channels": [*channels, *added],
        "reported": one.count if channels else one.reported,
        "sequence": row["sequence"] + bool(due),
    }
    connection.execute(update(alarm).where(alarm.c.id == one.id).values(values))
    return len(due), bool(channels)


def _wake_snoozed(connection: Connection, now: datetime) -> None:
    due = (
        select(alarm.c.id)
        .where(has_state(AlarmState.SNOOZED), alarm.c.snoozed_until <= now)
        .with_for_update(skip_locked=True)
    )
    ids = [row.id for row in connection.execute(due)]
    if ids:
        values = {"state": str(AlarmState.OPEN), "snoozed_until": None}
        connection.execute(update(alarm).where(alarm.c.id.in_(ids)).values(values))


def _without_channels(connection: Connection) -> tuple[str, ...]:
    new = (
        has_state(AlarmState.OPEN),
        alarm.c.count > alarm.c.reported,
        alarm.c.is_routed.is_(None),
    )
    marked = update(alarm).where(*new).values(is_routed=False).returning(alarm.c.id)
    return tuple(str(row.id) for row in connection.execute(marked))


def _reported(connection: Connection, one: AlarmEntity, channel: str) -> int:
    """The number of the alarm's failures that an added channel already has a message of."""
    last = select(func.max(delivery.c.total)).where(
        delivery.c.alarm_id == one.id, delivery.c.channel == channel
    )
    return max(one.reported, connection.execute(last).scalar() or 0)


def _write(
    connection: Connection, row: RowMapping, one: AlarmEntity, channel: str, reported: int
) -> None:
    """Write one message to a channel that knows of `reported` failures."""
    kind = _kind(row, one, reported)
    count = one.count - reported
    if kind is MessageKind.AGAIN and _is_merged(connection, one, channel, count):
        return
    values = {
        "id": str(uuid7()),
        "alarm_id": one.id,
        "channel": channel,
        "sequence": row["sequence"] + 1,
        "kind": str(kind),
        "count": count,
        "total": one.count,
        "message": message_of(one, kind, count),
    }
    connection.execute(insert(delivery).values(values))


def _kind(row: RowMapping, one: AlarmEntity, reported: int) -> MessageKind:
    if one.is_regression and not row["is_routed"] and reported == one.reported:
        return MessageKind.REGRESSION
    return MessageKind.AGAIN if reported else MessageKind.OPENED


def _is_merged(connection: Connection, one: AlarmEntity, channel: str, count: int) -> bool:
    """Merge into a message that no process has tried to send. Returns whether there was one.

    A channel that is unavailable for hours then gets one summary, not one for each window.
    """
    place = (
        delivery.c.alarm_id == one.id,
        delivery.c.channel == channel,
        delivery.c.kind == MessageKind.AGAIN.value,
        delivery.c.attempts == 0,
        delivery.c.lease_token.is_(None),
        delivery.c.sent_at.is_(None),
    )
    waiting = connection.execute(select(delivery).where(*place).with_for_update())
    row = waiting.mappings().first()
    if row is None:
        return False
    whole = row["count"] + count
    values = {
        "count": whole,
        "total": one.count,
        "message": message_of(one, MessageKind.AGAIN, whole),
    }
    # A process that sends it has a lease, and leaves its token if it dies: the message then stays.
    merged = update(delivery).where(delivery.c.id == row["id"], *place).values(values)
    return connection.execute(merged).rowcount > 0
