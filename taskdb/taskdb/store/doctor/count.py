"""Counts of open tasks by queue and status, of workers, schedules, alarms and subscriptions.

The statements read no terminal tasks, no resolved alarms and no sent messages, however many there
are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from taskdb.model.alarm.alarm import AlarmState, Severity
from taskdb.model.status import OPEN, PUBLISHABLE, TaskStatus, in_order
from taskdb.model.subscription import SubscriptionState
from taskdb.store.engine.database import Database
from taskdb.store.engine.dialect import StoreDialect
from taskdb.store.engine.event_order import has_order
from taskdb.store.engine.types import as_texts

NAMED_RULES = ("mutex", "running", "starts", "paused")
"""Reasons in `held_by` before a colon; the reasons `window` and `admission` have no colon."""
_RECENT = timedelta(hours=1)
"""A worker that was not seen for longer is not counted."""


@dataclass(frozen=True, slots=True)
class Kindred:
    """The count of similar open tasks; `ready` counts those that a worker might take.

    `rule` is the reason that holds them, or empty. `is_waiting`: they wait for sub-tasks or a
    callback, without a worker.
    """

    status: TaskStatus
    type: str
    queue: str
    tenant: str
    rule: str
    is_waiting: bool
    number: int
    ready: int
    oldest_ready_seconds: float | None


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """Counts of live workers, of those lost within the last hour, and of live ones by queue."""

    live: int
    stale: int
    by_queue: dict[str, int]
    oldest_seen_seconds: float


@dataclass(frozen=True, slots=True)
class Timetable:
    """Counts of enabled schedules and of those that cannot fire, and the longest delay."""

    enabled: int
    broken: int
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class LiveAlarms:
    """Counts of unresolved alarms by state and severity.

    `unrouted` counts open ones that no route takes; `undelivered` has messages by channel.
    """

    numbers: dict[tuple[AlarmState, Severity], int]
    unrouted: int
    undelivered: dict[str, Undelivered]


@dataclass(frozen=True, slots=True)
class Undelivered:
    """The messages that wait for one channel, and the age of the oldest."""

    number: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Audience:
    """Counts of subscriptions by state, and of active ones whose last try failed.

    `lag_seconds`: the age of the next event of the active subscription that is furthest behind.
    """

    numbers: dict[SubscriptionState, int]
    failing: int
    lag_seconds: float


class SystemCounts:
    """Counts; each reads an index or a small table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tasks(self, *, by_tenant: bool) -> list[Kindred]:
        """Count open tasks by status, type, queue, tenant, holding reason and waiting."""
        found = self._database.survey(_open_tasks(self._database.dialect), {"by_tenant": by_tenant})
        return [
            Kindred(
                status=TaskStatus(row["status"]),
                type=row["type"],
                queue=row["queue"],
                tenant=row["tenant"],
                rule=row["rule"],
                is_waiting=bool(row["is_waiting"]),
                number=int(row["number"]),
                ready=int(row["ready"]),
                oldest_ready_seconds=_seconds(row["oldest"]),
            )
            for row in found
        ]

    def workers(self, lease: timedelta) -> WorkerCounts:
        """Count workers: one seen within the lease is alive; those that stopped do not count."""
        d = self._database.dialect
        found = self._database.query(
            f"SELECT CAST(queues AS TEXT) AS queues, {d.elapsed('seen_at', d.now)} AS unseen"
            " FROM taskdb_worker WHERE stopped_at IS NULL AND seen_at >="
            f" (SELECT {d.later('-:recent')})",
            {"recent": (lease + _RECENT).total_seconds()},
            writes=False,
        )
        live = [row for row in found if row["unseen"] <= lease.total_seconds()]
        by_queue: dict[str, int] = {}
        for row in live:
            for queue in as_texts(row["queues"]):
                by_queue[queue] = by_queue.get(queue, 0) + 1
        oldest = max((_seconds(row["unseen"]) or 0.0 for row in live), default=0.0)
        return WorkerCounts(len(live), len(found) - len(live), by_queue, oldest)

    def schedules(self) -> Timetable:
        """Count enabled schedules."""
        d = self._database.dialect
        (row,) = self._database.query(
            "SELECT count(*) AS enabled, count(last_error) AS broken,"
            f" max({d.elapsed('next_due_at', d.now)}) AS lag FROM taskdb_schedule WHERE is_enabled",
            {},
            writes=False,
        )
        return Timetable(int(row["enabled"]), int(row["broken"]), _seconds(row["lag"]) or 0.0)

    def alarms(self) -> LiveAlarms:
        """Count unresolved alarms and undelivered messages."""
        d = self._database.dialect
        found = self._database.query(
            "SELECT state, severity, count(*) AS number,"
            " count(CASE WHEN NOT is_routed THEN 1 END) AS unrouted"
            " FROM taskdb_alarm WHERE state <> 'resolved' GROUP BY state, severity",
            {},
            writes=False,
        )
        waiting = self._database.query(
            f"SELECT channel, count(*) AS number, {d.elapsed('min(created_at)', d.now)} AS oldest"
            " FROM taskdb_alarm_delivery WHERE sent_at IS NULL GROUP BY channel",
            {},
            writes=False,
        )
        open_ones = (row for row in found if row["state"] == AlarmState.OPEN)
        return LiveAlarms(
            numbers={
                (AlarmState(row["state"]), Severity(row["severity"])): int(row["number"])
                for row in found
            },
            unrouted=sum(int(row["unrouted"]) for row in open_ones),
            undelivered={
                row["channel"]: Undelivered(int(row["number"]), _seconds(row["oldest"]) or 0.0)
                for row in waiting
            },
        )

    def subscriptions(self) -> Audience:
        """Count all subscriptions; a site has few."""
        found = self._database.query(
            "SELECT state, count(*) AS number, count(failing_since) AS failing"
            " FROM taskdb_subscription GROUP BY state",
            {},
            writes=False,
        )
        numbers = {SubscriptionState(row["state"]): int(row["number"]) for row in found}
        active = SubscriptionState.ACTIVE
        failing = sum(int(row["failing"]) for row in found if row["state"] == active)
        return Audience(numbers, failing, self._lag_seconds() if active in numbers else 0.0)

    def _lag_seconds(self) -> float:
        d = self._database.dialect
        (row,) = self._database.query(
            "WITH furthest AS (SELECT cursor_xid, cursor_id FROM taskdb_subscription"
            " WHERE state = 'active' ORDER BY cursor_xid, cursor_id LIMIT 1)"
            f" SELECT {d.elapsed('min(at)', d.now)} AS lag FROM (SELECT e.at FROM taskdb_event AS e"
            " WHERE (e.xid, e.id) > ((SELECT cursor_xid FROM furthest),"
            f" (SELECT cursor_id FROM furthest)) AND {has_order(d.name, 'e.xid')}"
            " ORDER BY e.xid, e.id LIMIT 1) AS next_event",
            {},
            writes=False,
        )
        return _seconds(row["lag"]) or 0.0

    def aside(self) -> dict[str, int]:
        """Count the rows set aside by loop."""
        found = self._database.query(
            "SELECT loop, count(*) AS number FROM taskdb_set_aside GROUP BY loop", {}, writes=False
        )
        return {row["loop"]: int(row["number"]) for row in found}

    def sizes(self) -> dict[str, int]:
        """Return the bytes on disk with all indexes by table; on SQLite of the whole file."""
        if self._database.dialect.name == "postgresql":
            sql = (
                "SELECT 'taskdb_task' AS name, pg_total_relation_size('taskdb_task') AS size"
                " UNION ALL SELECT 'taskdb_event', (SELECT sum(pg_total_relation_size(relid))"
                " FROM pg_partition_tree('taskdb_event'))"
            )
        else:
            sql = (
                "SELECT 'database' AS name, page_count * page_size AS size"
                " FROM pragma_page_count(), pragma_page_size()"
            )
        found = self._database.query(sql, {}, writes=False)
        return {row["name"]: int(row["size"]) for row in found}


@cache
def _open_tasks(d: StoreDialect) -> str:
    # A subquery asks the clock once, not for every row.
    now = f"(SELECT {d.now})"
    known = " ".join(
        f"WHEN substr(held_by, 1, {len(rule) + 1}) = '{rule}:' THEN '{rule}'"
        for rule in NAMED_RULES
    )
    due = f"(run_at IS NULL OR run_at <= {now})"
    waits = ", ".join(repr(value) for value in in_order(PUBLISHABLE))
    since = (
        # We do not publish adopted tasks, and our workers do not take them.
        "CASE WHEN held_by IS NOT NULL OR is_adopted THEN NULL"
        f" WHEN status = 'QUEUED' THEN queued_at WHEN status IN ({waits}) AND {due}"
        f" THEN {d.latest('updated_at', 'COALESCE(run_at, updated_at)')} END"
    )
    each = (
        f"SELECT status, type, queue, CASE WHEN {d.truth('by_tenant')} THEN tenant ELSE '' END"
        f" AS tenant, CASE WHEN held_by IS NULL THEN '' {known} ELSE held_by END AS rule,"
        f" waits_for IS NOT NULL AS is_waiting, {since} AS since FROM taskdb_task"
        f" WHERE status IN ({', '.join(repr(value) for value in in_order(OPEN))})"
        # SQLite needs the words of the index to use it.
        " AND status <> 'COMPLETED'"
    )
    return (
        "SELECT status, type, queue, tenant, rule, is_waiting, count(*) AS number,"
        f" count(since) AS ready, {d.elapsed('min(since)', now)} AS oldest FROM ({each}) AS one"
        " GROUP BY status, type, queue, tenant, rule, is_waiting"
    )


def _seconds(value: Any) -> float | None:
    """A duration in seconds; never negative, even if a clock steps back."""
    return None if value is None else max(0.0, float(value))
