"""Deliveries: one process at a time takes a message, and marks it when it was sent.

Taking a message counts an attempt, and sets its next try after the longest time that sending may
last. If the process dies, before or after the channel took the message, another process sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskdb.model.alarm.alarm import MessageKind
from taskdb.model.json_text import storable
from taskdb.store.engine.aside import Aside, is_of_a_row, not_aside, reason_of
from taskdb.store.engine.database import Database
from taskdb.store.engine.dialect import StoreDialect
from taskdb.store.engine.session import Row
from taskdb.store.engine.types import as_json

_FIRST_PAUSE = timedelta(seconds=2)
_LONGEST_PAUSE = timedelta(minutes=15)
_ERROR_CHARACTERS = 500
DELIVER_ALARMS = "deliver_alarms"
_IS_NEXT = (
    "NOT EXISTS (SELECT 1 FROM taskdb_alarm_delivery AS earlier"
    " WHERE earlier.alarm_id = one.alarm_id AND earlier.channel = one.channel"
    " AND earlier.sequence < one.sequence AND earlier.sent_at IS NULL)"
)
"""SQL: a message is the first of its alarm that its channel has not taken."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that this process may send now."""

    id: str
    alarm_id: str
    sequence: int
    kind: MessageKind
    attempt: int
    message: Mapping[str, Any]


class Deliveries:
    """The operations of a process that delivers."""

    def __init__(self, database: Database, aside: Aside) -> None:
        self._database = database
        self._aside = aside

    def due_channels(self) -> list[str]:
        """Return the channels with due messages."""
        d = self._database.dialect
        sql = (
            "SELECT DISTINCT channel FROM taskdb_alarm_delivery"
            f" WHERE sent_at IS NULL AND next_try_at <= (SELECT {d.now}) ORDER BY channel"
        )
        return [row["channel"] for row in self._database.query(sql, {}, writes=False)]

    def take(self, channel: str, lease: timedelta) -> Outgoing | None:
        """Take the first due message of this channel; messages of an alarm keep their order."""
        d = self._database.dialect
        sql = (
            "UPDATE taskdb_alarm_delivery SET attempts = attempts + 1,"
            f" next_try_at = {d.later(':lease')} WHERE id = (SELECT id"
            f" FROM taskdb_alarm_delivery AS one WHERE {_due(d)} AND {_IS_NEXT}"
            f" ORDER BY next_try_at, id LIMIT 1{d.locking('FOR UPDATE SKIP LOCKED')})"
            " AND sent_at IS NULL RETURNING CAST(id AS TEXT) AS id,"
            " CAST(alarm_id AS TEXT) AS alarm_id, sequence, kind, attempts,"
            " CAST(message AS TEXT) AS message"
        )
        given = {"channel": channel, "lease": lease.total_seconds()}
        while True:
            try:
                found = self._database.query(sql, given)
            except Exception as error:
                if not is_of_a_row(error):
                    raise
                # The first due message cannot be taken; the next one may.
                self._aside.note(DELIVER_ALARMS, self._first(channel), error)
                continue
            if not found:
                self._aside.over(DELIVER_ALARMS, 0.0)
                return None
            if (one := self._readable(found[0])) is not None:
                return one

    def _first(self, channel: str) -> str:
        d = self._database.dialect
        sql = (
            "SELECT CAST(id AS TEXT) AS id FROM taskdb_alarm_delivery AS one"
            f" WHERE {_due(d)} AND {_IS_NEXT} ORDER BY next_try_at, id LIMIT 1"
        )
        return str(self._database.query(sql, {"channel": channel}, writes=False)[0]["id"])

    def _readable(self, row: Row) -> Outgoing | None:
        """Read the message of a row; one that cannot be read waits, with the reason."""
        try:
            return _outgoing(row)
        except (ValueError, TypeError) as error:
            self._refuse(row["id"], row["attempts"], reason_of(error))
            return None

    def sent(self, one: Outgoing) -> bool:
        """Record that the channel took the message; False if that was already recorded."""
        d = self._database.dialect
        sql = (
            f"UPDATE taskdb_alarm_delivery SET sent_at = {d.now}, last_error = NULL"
            " WHERE id = :id AND sent_at IS NULL RETURNING id"
        )
        return bool(self._database.query(sql, {"id": one.id}))

    def refused(self, one: Outgoing, reason: str, *, after: timedelta | None = None) -> None:
        """Record that sending failed. The next try comes after a growing pause, or `after`."""
        self._refuse(one.id, one.attempt, reason, after=after)

    def _refuse(
        self, message_id: str, attempt: int, reason: str, *, after: timedelta | None = None
    ) -> None:
        d = self._database.dialect
        grown = _FIRST_PAUSE * 2.0 ** min(attempt - 1, 12)
        pause = max(min(grown, _LONGEST_PAUSE), after or timedelta(0))
        sql = (
            f"UPDATE taskdb_alarm_delivery SET next_try_at = {d.later(':pause')},"
            f" last_error = {d.text('reason')}"
            " WHERE id = :id AND attempts = :attempt AND sent_at IS NULL"
        )
        given = {
            "id": message_id,
            "attempt": attempt,
            "pause": pause.total_seconds(),
            "reason": storable(reason, _ERROR_CHARACTERS),
        }
        self._database.query(sql, given)


def _due(d: StoreDialect) -> str:
    return (
        f"one.channel = {d.text('channel')} AND one.sent_at IS NULL"
        f" AND one.next_try_at <= (SELECT {d.now}) AND {not_aside(d, DELIVER_ALARMS, 'one.id')}"
    )


def _outgoing(row: Row) -> Outgoing:
    return Outgoing(
        id=row["id"],
        alarm_id=row["alarm_id"],
        sequence=row["sequence"],
        kind=MessageKind(row["kind"]),
        attempt=row["attempts"],
        message=as_json(row["message"]),
    )
