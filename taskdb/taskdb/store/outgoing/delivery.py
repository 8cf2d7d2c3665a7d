"""Deliveries: due rows are leased, sent by one process at a time, and moved on.

A row is a message of an alarm, or a subscription that is behind the history. Both have the same
lease, pauses and errors. A process that dies loses its lease: another one sends the message again.
The history has the order (xid, id). A reader stops below the oldest open transaction, so no event
commits behind a cursor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from taskdb.model.alarm.message import AlarmMessage
from taskdb.model.entity import TaskKind
from taskdb.model.json_text import Unreadable, storable
from taskdb.model.notification import ATTRIBUTE_LIMIT, RESULT_LIMIT, Notification
from taskdb.model.subscription import EventFilter, SubscriptionState, TransportKind
from taskdb.store.engine.aside import Aside, is_of_a_row
from taskdb.store.engine.database import Database
from taskdb.store.engine.restore import settle
from taskdb.store.engine.session import Row
from taskdb.store.engine.types import as_json, as_readable, moment
from taskdb.store.outgoing.subscription.subscription import filter_of_row, secrets_of
from taskdb.store.outgoing.transaction import QUERIES
from taskdb.store.task import row as rows
from taskdb.store.task.list import EventCursor
from taskdb.store.task.statements import queries_of

Kind = Literal["alarm", "subscription"]
DELIVER, DELIVER_ALARMS = "deliver", "deliver_alarms"
MOST_TARGETS = 1_000
"""The most due targets that a pass finds."""
_NOWHERE = EventCursor(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedMessage:
    """A message of an alarm to the channel `name`, which the process with this token sends."""

    id: str
    token: str
    name: str
    attempts: int
    alarm_id: str
    message: AlarmMessage
    cursor: EventCursor = _NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedSubscription:
    """A subscription that the process with this token serves until its lease is over.

    `tenant` None is every tenant's.
    """

    id: str
    token: str
    name: str
    tenant: str | None
    transport: TransportKind
    target: str
    secrets: tuple[str, ...] = field(repr=False)
    filter: EventFilter
    cursor: EventCursor
    attempts: int


Leased = LeasedMessage | LeasedSubscription


@dataclass(frozen=True, slots=True)
class Passed:
    """The progress of a delivery: cursor, time of its event, and number of sent messages."""

    cursor: EventCursor
    at: datetime | None = None
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """A message to send, and the progress after it."""

    content: Notification | AlarmMessage
    after: Passed


@dataclass(frozen=True, slots=True)
class Page:
    """The messages to send next, and the progress after all of them."""

    due: tuple[Due, ...]
    end: Passed
    is_full: bool = False
    """Whether there may be more after this page."""


@dataclass(frozen=True, slots=True)
class DueTarget:
    """A target with due messages: the id of a subscription, or the name of a channel."""

    target: str
    is_failing: bool


class Deliveries:
    """The deliveries of one kind."""

    def __init__(self, database: Database, aside: Aside, kind: Kind) -> None:
        self.kind = kind
        self._database = database
        self._aside = aside
        self._loop = DELIVER if kind == "subscription" else DELIVER_ALARMS
        self._queries = queries_of(database.dialect, QUERIES)

    def due(self) -> list[DueTarget]:
        """Return targets with due messages, the longest waiting first. Writes nothing."""
        if self.kind == "subscription" and not settle(self._database):
            return []
        found = self._database.query(self._sql("due"), {"limit": MOST_TARGETS}, writes=False)
        if not found:
            self._aside.over(self._loop, 0.0)
        return [DueTarget(row["target"], bool(row["is_failing"])) for row in found]

    def take(self, target: str, token: str, lease: timedelta) -> Leased | None:
        """Lease the next due row of a target; None if there is none.

        Sets rows aside that cannot be leased or read.
        """
        read = _subscription if self.kind == "subscription" else _message
        given = {"target": target, "token": token, "lease": lease.total_seconds()}
        while True:
            try:
                found = self._database.query(self._sql("take"), given)
            except Exception as error:
                if not is_of_a_row(error):
                    raise
                first = self._database.query(self._sql("first"), {"target": target}, writes=False)
                if not first:
                    return None
                self._aside.note(self._loop, str(first[0]["id"]), error)
                continue
            if not found:
                return None
            leased = self._aside.each(
                self._loop, found, lambda row: read(row, token), key=lambda row: str(row["id"])
            )
            if leased:
                return leased[0]

    def page(self, leased: Leased, after: EventCursor, *, scan: int, limit: int) -> Page:
        """Read the next messages. Of a subscription: scan `scan` events, return at most `limit`."""
        if isinstance(leased, LeasedMessage):
            return Page((Due(leased.message, Passed(after, sent=1)),), Passed(after))
        sql = self._sql("page").replace(":scan", str(scan)).replace(":edge", str(limit))
        given = {"xid": after.xid, "event": after.id, **_conditions(leased)}
        return _page(self._database.query(sql, given, writes=False), after, scan, limit)

    def advance(self, leased: Leased, passed: Passed, lease: timedelta, *, ends: bool) -> bool:
        """Record the progress. With `ends`, end the lease, else renew it.

        Returns False, and changes nothing, if the lease has ended or belongs to another process.
        """
        given = {"ends": ends, "lease": lease.total_seconds(), **_progress(leased, passed)}
        return bool(self._database.query(self._sql("advance"), given))

    def fail(
        self,
        leased: Leased,
        passed: Passed,
        reason: str,
        *,
        delay: timedelta,
        give_up: timedelta,
        is_final: bool,
    ) -> SubscriptionState | None:
        """Record that the next message could not be sent; it is tried again after `delay`.

        A subscription is dead if `is_final`, or after failing for `give_up`. Returns its state; of
        a message active; None as above.
        """
        given = {
            "reason": storable(reason, 1_000),
            "delay": delay.total_seconds(),
            "give_up": give_up.total_seconds(),
            "is_final": is_final,
            **_progress(leased, passed),
        }
        found = self._database.query(self._sql("fail"), given)
        return SubscriptionState(found[0]["state"]) if found else None

    def _sql(self, verb: str) -> str:
        sql: str = getattr(self._queries, f"{verb}_{self.kind}")
        return sql

    def set_aside(self, leased: Leased, error: Exception) -> None:
        """Leave the row out for some time, after an error that its target did not cause."""
        self._aside.note(self._loop, leased.id, error)


def _conditions(leased: LeasedSubscription) -> dict[str, Any]:
    wanted = leased.filter
    is_prefix = wanted.type is not None and wanted.type.endswith("*")
    return {
        "tenant": leased.tenant,
        "statuses": json.dumps(wanted.statuses) if wanted.statuses else None,
        "kind": wanted.kind and str(wanted.kind),
        "with_sub_tasks": wanted.with_sub_tasks,
        "type": None if is_prefix else wanted.type,
        "prefix": wanted.type.removesuffix("*") if wanted.type and is_prefix else "",
        "most_attributes": ATTRIBUTE_LIMIT,
        "most_result": RESULT_LIMIT,
    }


def _page(found: list[Row], after: EventCursor, scan: int, limit: int) -> Page:
    if not found:
        return Page((), Passed(after))
    due = tuple(_due(row) for row in found if row["id"] is not None)
    if len(due) == limit:
        last = due[-1].after
        return Page(due, Passed(last.cursor, last.at), is_full=True)
    first = found[0]
    place = EventCursor(first["edge_xid"], first["edge_id"])
    return Page(due, Passed(place, moment(first["edge_at"])), is_full=first["scanned"] == scan)


def _due(row: Row) -> Due:
    # The cursor passes an event that is sent with a later one only together with that one.
    is_last = row["id"] == row["place_id"]
    place = EventCursor(row["place_xid"], row["place_id"] - (0 if is_last else 1))
    notification = _notification(row)
    return Due(notification, Passed(place, notification.event.at, 1))


def _notification(row: Row) -> Notification:
    # SQLite accepts text that is not JSON: it is left out.
    detail, attributes, result = (
        as_readable(row[name]) for name in ("detail", "attributes", "result")
    )
    return Notification(
        event=rows.event({**row, "at": moment(row["at"]), "detail": detail}),
        type=row["type"],
        kind=TaskKind(row["kind"]),
        parent_id=row["parent_id"],
        position=row["position"],
        notify_id=row["notify_id"],
        attributes=attributes if isinstance(attributes, dict) else {},
        result=None if isinstance(result, Unreadable) else result,
    )


def _message(row: Row, token: str) -> LeasedMessage:
    """Read a leased message. Raises ValueError for text that is not JSON, which SQLite accepts."""
    return LeasedMessage(
        id=row["id"],
        token=token,
        name=row["channel"],
        attempts=int(row["attempts"]),
        alarm_id=row["alarm_id"],
        message=AlarmMessage(row["id"], as_json(row["message"])),
    )


def _subscription(row: Row, token: str) -> LeasedSubscription:
    """Read a leased row. Raises ValueError for text in a number column, which SQLite accepts."""
    cursor_xid, cursor_id, attempts = (
        int(row[name]) for name in ("cursor_xid", "cursor_id", "attempts")
    )
    return LeasedSubscription(
        id=str(row["id"]),
        token=token,
        name=row["name"],
        tenant=None if row["is_for_all"] else row["tenant"],
        transport=TransportKind(row["transport"]),
        target=row["target"],
        secrets=tuple(secrets_of(row, moment(row["now"]))),
        filter=filter_of_row(row),
        cursor=EventCursor(cursor_xid, cursor_id),
        attempts=attempts,
    )


def _progress(leased: Leased, passed: Passed) -> Mapping[str, Any]:
    return {
        "id": leased.id,
        "token": leased.token,
        "xid": passed.cursor.xid,
        "event": passed.cursor.id,
        "at": passed.at,
        "sent": passed.sent,
    }
