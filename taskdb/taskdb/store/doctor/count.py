"""Counts of what is open: tasks by queue and status, workers, schedules, alarms, subscriptions.

It reads the tasks that are not over and no other ones, whatever the table holds of what is. So it
does with alarms that are resolved, and with messages that were sent.
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
"""What may hold a task, as `held_by` has it before a colon; `window` and `gate` stand alone."""
_RECENT = timedelta(hours=1)
"""A worker that was not seen for so long is no news any more."""


@dataclass(frozen=True, slots=True)
class Kindred:
    """Open tasks that are alike: how many, how many of them a worker might take, since when.

    `rule` is what holds them, if anything; `is_waiting`: for sub-tasks or a callback, without a
    worker.
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
class Crew:
    """The workers: how many live, how many went without a word lately, and who serves a queue."""

    live: int
    stale: int
    by_queue: dict[str, int]
    oldest_seen_seconds: float


@dataclass(frozen=True, slots=True)
class Timetable:
    """The schedules: how many fire, how many cannot, and how late the latest one is."""

    enabled: int
    broken: int
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class LiveAlarms:
    """The alarms that nobody has resolved: how many of each state and severity.

    `unrouted` are open ones that no route takes, `untold` the messages that no channel has taken.
    """

    numbers: dict[tuple[AlarmState, Severity], int]
    unrouted: int
    untold: dict[str, Untold]


@dataclass(frozen=True, slots=True)
class Untold:
    """Messages that wait for one channel, and for how long the oldest has."""

    number: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Audience:
    """The subscriptions of each state; of the active ones, those whose last try failed.

    `lag_seconds`: how old the next event is of the active one that is furthest behind.
    """

    numbers: dict[SubscriptionState, int]
    failing: int
    lag_seconds: float


class SystemCounts:
    """Counts; each is one statement over an index or over a small table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tasks(self, *, by_tenant: bool) -> list[Kindred]:
        """Every kind of open task."""
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

    def workers(self, lease: timedelta) -> Crew:
        """Who was seen within the lease is alive; who stopped in order is nobody's news."""
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
        return Crew(len(live), len(found) - len(live), by_queue, oldest)

    def schedules(self) -> Timetable:
        """Those that are enabled."""
        d = self._database.dialect
        (row,) = self._database.query(
            "SELECT count(*) AS enabled, count(last_error) AS broken,"
            f" max({d.elapsed('next_due_at', d.now)}) AS lag FROM taskdb_schedule WHERE is_enabled",
            {},
            writes=False,
        )
        return Timetable(int(row["enabled"]), int(row["broken"]), _seconds(row["lag"]) or 0.0)

    def alarms(self) -> LiveAlarms:
        """Those that are not resolved, and the messages that were not delivered."""
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
            untold={
                row["channel"]: Untold(int(row["number"]), _seconds(row["oldest"]) or 0.0)
                for row in waiting
            },
        )

    def subscriptions(self) -> Audience:
        """All of them: a site has few."""
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
        """How many rows each loop has set aside."""
        found = self._database.query(
            "SELECT loop, count(*) AS number FROM taskdb_set_aside GROUP BY loop", {}, writes=False
        )
        return {row["loop"]: int(row["number"]) for row in found}

    def sizes(self) -> dict[str, int]:
        """Bytes on disk with all indexes, by table; of SQLite those of its whole file."""
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
    # The clock is asked once, not for every row.
    now = f"(SELECT {d.now})"
    known = " ".join(
        f"WHEN substr(held_by, 1, {len(rule) + 1}) = '{rule}:' THEN '{rule}'"
        for rule in NAMED_RULES
    )
    due = f"(run_at IS NULL OR run_at <= {now})"
    waits = ", ".join(repr(value) for value in in_order(PUBLISHABLE))
    since = (
        # Those of an app that is only watched are neither ours to publish nor our workers' to take.
        "CASE WHEN held_by IS NOT NULL OR is_adopted THEN NULL"
        f" WHEN status = 'QUEUED' THEN queued_at WHEN status IN ({waits}) AND {due}"
        f" THEN {d.latest('updated_at', 'COALESCE(run_at, updated_at)')} END"
    )
    each = (
        f"SELECT status, type, queue, CASE WHEN {d.truth('by_tenant')} THEN tenant ELSE '' END"
        f" AS tenant, CASE WHEN held_by IS NULL THEN '' {known} ELSE held_by END AS rule,"
        f" waits_for IS NOT NULL AS is_waiting, {since} AS since FROM taskdb_task"
        f" WHERE status IN ({', '.join(repr(value) for value in in_order(OPEN))})"
        # The words of the index, by which SQLite finds it.
        " AND status <> 'COMPLETED'"
    )
    return (
        "SELECT status, type, queue, tenant, rule, is_waiting, count(*) AS number,"
        f" count(since) AS ready, {d.elapsed('min(since)', now)} AS oldest FROM ({each}) AS one"
        " GROUP BY status, type, queue, tenant, rule, is_waiting"
    )


def _seconds(value: Any) -> float | None:
    """A duration that clocks which step back cannot make negative."""
    return None if value is None else max(0.0, float(value))
