"""Serving subscriptions: lease them, read their notifications, and move their cursors.

The history has the order (xid, id). A reader stops below the oldest open transaction, so no event
commits behind a cursor. One read scans a fixed window of the history, with any filter, so a cursor
moves at the same cost where no event matches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from taskdb.model.entity import TaskKind
from taskdb.model.json_text import storable
from taskdb.model.notification import Notification
from taskdb.model.subscription import EventFilter, SubscriptionState, TransportKind
from taskdb.store.engine.aside import Aside, not_aside
from taskdb.store.engine.database import Database
from taskdb.store.engine.restore import settle
from taskdb.store.engine.session import Row
from taskdb.store.engine.types import moment
from taskdb.store.outgoing.subscription.query import notifications_statement
from taskdb.store.outgoing.subscription.subscription import filter_of_row, secrets_of
from taskdb.store.task import row as rows
from taskdb.store.task.list import EventCursor, horizon

DELIVER = "deliver"
_COLUMNS = (
    "id, tenant, is_for_all, name, transport, target, type, kind, statuses, with_sub_tasks, secret,"
    " previous_secret, previous_until, cursor_xid, cursor_id, attempts, failing_since, lease_until"
)


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


@dataclass(frozen=True, slots=True)
class Passed:
    """The progress of a subscription: cursor, time of its event, and number of sent events."""

    cursor: EventCursor
    at: datetime | None
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """A notification to send, and the cursor after it."""

    notification: Notification
    place: EventCursor


@dataclass(frozen=True, slots=True)
class NotificationPage:
    """The notifications to send next, and the progress after all of them."""

    due: tuple[Due, ...]
    end: Passed
    is_full: bool
    """Whether there may be more after this page."""


class Notifications:
    """The operations of the process that serves subscriptions."""

    def __init__(self, database: Database, aside: Aside) -> None:
        self._database = database
        self._aside = aside

    def lease(
        self, token: str, lease: timedelta, limit: int, busy: Iterable[str] = ()
    ) -> list[LeasedSubscription]:
        """Lease some subscriptions with unread history; `busy` are those still being served here.

        Writes nothing if there is none.
        """
        if not settle(self._database):
            return []
        d = self._database.dialect
        given = {
            "limit": limit,
            "busy": json.dumps(list(busy)),
            "token": token,
            "lease": lease.total_seconds(),
        }
        found = self._database.query(f"{self._due('')} SELECT id FROM due", given, writes=False)
        if not found:
            return []
        due = self._due(d.locking("FOR UPDATE OF s SKIP LOCKED"))
        sql = (
            f"{due} UPDATE taskdb_subscription SET lease_token = :token,"
            f" lease_until = {d.later(':lease')} WHERE id IN (SELECT id FROM due) AND id"
            f" IN {d.listed_ids('ids')} RETURNING {_COLUMNS}, {d.now} AS now"
        )

        def take(ids: Sequence[str]) -> list[Row]:
            return self._database.query(sql, {**given, "ids": json.dumps(list(ids))})

        rows = self._aside.batch(DELIVER, [str(row["id"]) for row in found], take)
        return self._aside.each(
            DELIVER, rows, lambda row: _leased(row, token), key=lambda row: str(row["id"])
        )

    def page(
        self, leased: LeasedSubscription, after: EventCursor, *, scan: int, limit: int
    ) -> NotificationPage:
        """Read the next notifications: scan `scan` events, return at most `limit`."""
        name = self._database.dialect.name
        statement = notifications_statement(
            leased.filter, leased.tenant, after, name, scan=scan, limit=limit
        )

        def read(connection: Connection) -> NotificationPage:
            found = connection.execute(statement).mappings().all()
            return _page(list(found), after, scan, limit)

        return self._database.read(read)

    def advance(
        self, leased: LeasedSubscription, passed: Passed, lease: timedelta, *, ends: bool
    ) -> bool:
        """Move the cursor past the sent events; with `ends` give the lease back, else renew it.

        Returns False, and changes nothing, if the lease has ended or belongs to another process.
        """
        d = self._database.dialect
        sql = (
            f"UPDATE taskdb_subscription SET {_MOVE.format(at=d.moment('at'))}, attempts = 0,"
            " failing_since = NULL, next_try_at = NULL, last_error = NULL,"
            f" last_sent_at = CASE WHEN :sent > 0 THEN {d.now} ELSE last_sent_at END,"
            f" lease_token = CASE WHEN {d.truth('ends')} THEN NULL ELSE lease_token END,"
            f" lease_until = CASE WHEN {d.truth('ends')} THEN {d.now} ELSE {d.later(':lease')} END"
            " WHERE id = :id AND lease_token = :token RETURNING id"
        )
        given = {"ends": ends, "lease": lease.total_seconds(), **_passed(leased, passed)}
        return bool(self._database.query(sql, given))

    def fail(
        self,
        leased: LeasedSubscription,
        passed: Passed,
        reason: str,
        *,
        delay: timedelta,
        give_up: timedelta,
        is_final: bool,
    ) -> SubscriptionState | None:
        """Record that the next event could not be sent; it is tried again after `delay`.

        `is_final`, or failing for longer than `give_up`: dead. Returns the state, None as above.
        """
        d = self._database.dialect
        since = f"CASE WHEN :sent > 0 THEN {d.now} ELSE COALESCE(failing_since, {d.now}) END"
        is_over = f"({d.truth('is_final')} OR {since} <= {d.later('-:give_up')})"
        sql = (
            f"UPDATE taskdb_subscription SET {_MOVE.format(at=d.moment('at'))},"
            " attempts = CASE WHEN :sent > 0 THEN 1 ELSE attempts + 1 END,"
            f" failing_since = {since}, next_try_at = {d.later(':delay')},"
            f" last_error = {d.text('reason')},"
            f" last_sent_at = CASE WHEN :sent > 0 THEN {d.now} ELSE last_sent_at END,"
            f" state = CASE WHEN {is_over} THEN 'dead' ELSE state END,"
            f" lease_token = NULL, lease_until = {d.now}"
            " WHERE id = :id AND lease_token = :token RETURNING state"
        )
        given = {
            "reason": storable(reason, 1_000),
            "delay": delay.total_seconds(),
            "give_up": give_up.total_seconds(),
            "is_final": is_final,
            **_passed(leased, passed),
        }
        found = self._database.query(sql, given)
        return SubscriptionState(found[0]["state"]) if found else None

    def _due(self, lock: str) -> str:
        """SQL: subscriptions behind the newest readable event; the longest waiting first."""
        d = self._database.dialect
        now = f"(SELECT {d.now})"
        return (
            "WITH head AS (SELECT xid, id FROM taskdb_event"
            f" WHERE {horizon(d.name)} ORDER BY xid DESC, id DESC LIMIT 1),"
            " due AS (SELECT s.id FROM taskdb_subscription AS s, head WHERE s.state = 'active'"
            f" AND (s.next_try_at IS NULL OR s.next_try_at <= {now})"
            f" AND (s.lease_until IS NULL OR s.lease_until <= {now})"
            " AND (s.cursor_xid, s.cursor_id) < (head.xid, head.id)"
            f" AND s.id NOT IN {d.listed_ids('busy')} AND {not_aside(d, DELIVER, 's.id')}"
            f" ORDER BY COALESCE(s.lease_until, s.created_at) LIMIT :limit{lock})"
        )


_MOVE = (
    "cursor_xid = :xid, cursor_id = :event, cursor_at = COALESCE({at}, cursor_at),"
    " sent = sent + :sent"
)


def _page(found: list[Any], after: EventCursor, scan: int, limit: int) -> NotificationPage:
    if not found:
        return NotificationPage((), Passed(after, None), is_full=False)
    due = tuple(_due(row) for row in found if row["id"] is not None)
    if len(due) == limit:
        last = due[-1]
        return NotificationPage(due, Passed(last.place, last.notification.event.at), is_full=True)
    first = found[0]
    end = Passed(EventCursor(first["edge_xid"], first["edge_id"]), first["edge_at"])
    return NotificationPage(due, end, is_full=first["scanned"] == scan)


def _due(row: Any) -> Due:
    # The cursor passes an event that is sent with a later one only together with that one.
    is_last = row["id"] == row["place_id"]
    place = EventCursor(row["place_xid"], row["place_id"] - (0 if is_last else 1))
    return Due(_notification(row), place)


def _notification(row: Any) -> Notification:
    return Notification(
        event=rows.event(row),
        type=row["type"],
        kind=TaskKind(row["kind"]),
        parent_id=row["parent_id"],
        position=row["position"],
        notify_id=row["notify_id"],
        attributes=row["attributes"] if isinstance(row["attributes"], dict) else {},
        result=row["result"],
    )


def _leased(row: Row, token: str) -> LeasedSubscription:
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


def _passed(leased: LeasedSubscription, passed: Passed) -> dict[str, Any]:
    return {
        "id": leased.id,
        "token": leased.token,
        "xid": passed.cursor.xid,
        "event": passed.cursor.id,
        "at": passed.at,
        "sent": passed.sent,
    }
