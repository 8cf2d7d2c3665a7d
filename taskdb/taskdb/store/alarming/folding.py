"""Folding: the history's failures become alarms, each counted once whatever dies in between.

One transaction reads what lies behind the cursor, counts it, decides on messages and moves the
cursor, and only one at a time: whoever comes second finds the cursor taken and lets it be.

Events of a transaction that began before a still open one cannot be passed by the cursor, since an
older one may yet appear before them. They are counted at once all the same, and their ids kept
beside the cursor until it may pass them: an alarm does not wait for a stranger's long transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, select, update

from taskdb.alarm import Alarm, AlarmSource
from taskdb.alarm_routing import AlarmRules
from taskdb.entity import TaskEntity
from taskdb.redaction import Redaction
from taskdb.status import TaskStatus
from taskdb.store import rows
from taskdb.store.alarming.raising import (
    Cause,
    Sighting,
    raises,
    severity_of,
    tenant_of,
    write_sightings,
)
from taskdb.store.alarming.rows import changing, policies
from taskdb.store.alarming.telling import Told, tell
from taskdb.store.database import Database
from taskdb.store.dialect import StoreDialect
from taskdb.store.rows import moment
from taskdb.store.session import JoinedSession, Row
from taskdb.store.tables import alarm_cursor, as_json, task

EVENTS = "events"
BATCH = 2_000
_TRACEBACK = 6_000
_INPUT = 4_000


@dataclass(frozen=True, slots=True)
class Folded:
    """What a pass has done.

    `is_busy`: another pass was at it, so what made this one necessary may be left; `is_full`:
    there may be more; `unrouted`: alarms that should be told and that no route takes.
    """

    events: int = 0
    messages: int = 0
    unrouted: tuple[str, ...] = ()
    is_full: bool = False
    is_busy: bool = False


class Folding:
    """The verb of a notifier."""

    def __init__(self, database: Database, rules: AlarmRules, redaction: Redaction) -> None:
        self._database = database
        self._rules = rules
        self._redaction = redaction

    def fold(self, limit: int = BATCH) -> Folded:
        """One pass over so many events at most; one with nothing to do takes no lock."""
        if not self._database.query(_has_work(self._database.dialect), {}, writes=False):
            return Folded()
        with changing(self._database) as (connection, now):
            cursor = take_cursor(connection, EVENTS)
            if cursor is None:
                return Folded(is_busy=True)
            found = self._events(connection, cursor, limit)
            known = set(cursor["ahead"])
            fresh = [row for row in found if row["id"] not in known]
            if fresh:
                write_sightings(connection, self._sightings(connection, fresh), now)
            told = tell(connection, self._rules, now)
            _move_cursor(connection, cursor, found, now)
        return _folded(fresh, told, is_full=len(found) == limit)

    def _events(self, connection: Connection, cursor: RowMapping, limit: int) -> list[Row]:
        given = {"xid": cursor["xid"], "event": cursor["event_id"], "limit": limit}
        sql = bad_events(self._database.dialect)
        session = JoinedSession(connection)
        return self._database.dialect.query(session, sql, self._database.parameters(given))

    def _sightings(self, connection: Connection, events: list[Row]) -> list[Sighting]:
        declared = policies(connection, {row["type"] or "" for row in events})
        found: dict[Cause, Sighting] = {}
        newest: dict[Cause, Row] = {}
        for row in events:
            policy = declared.get(row["type"] or "")
            detail = as_json(row["detail"]) or {}
            source = _source(row, detail)
            if not raises(policy, source, self._rules):
                continue
            cause = _cause(row, detail, source, policy, self._rules)
            at = moment(row["at"])
            if cause not in found:
                found[cause] = Sighting(cause, severity_of(policy, source), at, at)
            found[cause].add(at, row["task_id"])
            newest[cause] = row
        self._describe(connection, found, newest)
        return list(found.values())

    def _describe(
        self, connection: Connection, found: dict[Cause, Sighting], newest: dict[Cause, Row]
    ) -> None:
        """Say more of the newest task of each."""
        ids = {row["task_id"] for row in newest.values()}
        if not ids:
            return
        statement = select(task).where(task.c.id.in_(ids))
        tasks = {
            str(row["id"]): rows.entity(row) for row in connection.execute(statement).mappings()
        }
        for cause, row in newest.items():
            one, sighting = tasks.get(row["task_id"]), found[cause]
            detail = as_json(row["detail"]) or {}
            sighting.message, sighting.sample = self._sample(row, detail, one)

    def _sample(
        self, row: Row, detail: Mapping[str, Any], one: TaskEntity | None
    ) -> tuple[str, dict[str, Any]]:
        message, traceback = str(detail.get("message") or detail.get("reason") or ""), ""
        error = one.error if one is not None else None
        # The row may tell of another end by now; the history tells of this one.
        if error is not None and error.type == detail.get("error"):
            traceback = error.traceback
            message = error.message if error.message.startswith(message) else message
        known = () if one is None else self._redaction.secrets_of(one.inline_input)
        said = self._redaction.text(message, known=known)
        sample: dict[str, Any] = {
            "taskId": row["task_id"],
            "tenant": row["tenant"],
            "attempt": row["attempt"],
            "at": moment(row["at"]).isoformat(),
            "traceback": self._redaction.text(traceback, _TRACEBACK, known=known, end=True),
        }
        if one is not None:
            sample |= {"pk": one.pk, "sk": one.sk, "name": self._redaction.text(one.name, 300)}
            if self._rules.with_input:
                sample["input"] = self._redaction.value(one.inline_input, _INPUT)
        return said, sample


def bad_events(d: StoreDialect) -> str:
    """The failures behind a cursor; a task that ends well is in none of its indexes."""
    settled = "1"
    if d.name == "postgresql":
        settled = "e.xid < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)"
    return (
        "SELECT e.id, e.xid, CAST(e.task_id AS TEXT) AS task_id, e.tenant, e.to_status, e.attempt,"
        f" e.at, CAST(e.detail AS TEXT) AS detail, t.type, {settled} AS is_settled"
        " FROM task_event AS e LEFT JOIN task AS t ON t.id = e.task_id"
        " WHERE e.to_status IN ('FAILED','HALTED') AND e.from_status <> e.to_status"
        f" AND (e.xid, e.id) > ({d.integer('xid')}, {d.integer('event')})"
        f" ORDER BY e.xid, e.id LIMIT {d.integer('limit')}"
    )


def _has_work(d: StoreDialect) -> str:
    """Whether there is anything behind the cursor, or anything due to be told."""
    return (
        "SELECT 1 AS one WHERE EXISTS (SELECT 1 FROM task_event AS e"
        " WHERE e.to_status IN ('FAILED','HALTED') AND e.from_status <> e.to_status"
        " AND (e.xid, e.id) > (SELECT xid, event_id FROM alarm_cursor WHERE name = 'events'))"
        " OR EXISTS (SELECT 1 FROM alarm WHERE state = 'open' AND count > told"
        f" AND (window_until IS NULL OR window_until <= {d.now}))"
        f" OR EXISTS (SELECT 1 FROM alarm WHERE state = 'snoozed' AND snoozed_until <= {d.now})"
    )


def take_cursor(connection: Connection, name: str) -> RowMapping | None:
    """The cursor of this name, for this transaction alone; None while another has it."""
    statement = select(alarm_cursor).where(alarm_cursor.c.name == name)
    return connection.execute(statement.with_for_update(skip_locked=True)).mappings().first()


def _move_cursor(connection: Connection, cursor: RowMapping, found: list[Row], now: Any) -> None:
    settled = [row for row in found if row["is_settled"]]
    ahead = [row["id"] for row in found if not row["is_settled"]]
    if not settled and ahead == cursor["ahead"]:
        return
    last = settled[-1] if settled else {"xid": cursor["xid"], "id": cursor["event_id"]}
    values = {"xid": last["xid"], "event_id": last["id"], "ahead": ahead, "moved_at": now}
    place = alarm_cursor.c.name == cursor["name"]
    connection.execute(update(alarm_cursor).where(place).values(values))


def _source(row: Row, detail: Mapping[str, Any]) -> AlarmSource:
    if row["to_status"] == TaskStatus.HALTED:
        return AlarmSource.HALTED
    return AlarmSource.JOIN if detail.get("join") else AlarmSource.FAILED


def _cause(
    row: Row,
    detail: Mapping[str, Any],
    source: AlarmSource,
    policy: Alarm | None,
    rules: AlarmRules,
) -> Cause:
    return Cause(
        source=source,
        type=row["type"] or "",
        error_type=str(detail.get("error") or ""),
        place=str(detail.get("place") or ""),
        tenant=tenant_of(policy, row["tenant"], rules),
    )


def _folded(fresh: list[Row], told: Told, *, is_full: bool) -> Folded:
    return Folded(
        events=len(fresh),
        messages=told.messages,
        unrouted=told.unrouted,
        is_full=is_full or told.is_full,
    )
