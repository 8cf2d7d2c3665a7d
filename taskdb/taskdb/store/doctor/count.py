"""Counts of open tasks by queue and status, of workers, schedules, alarms and subscriptions.

The statements read no terminal tasks, no resolved alarms and no sent messages, however many there
are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskdb.model.alarm.alarm import AlarmState, Severity
from taskdb.model.status import TaskStatus
from taskdb.model.subscription import SubscriptionState
from taskdb.store.engine.database import Database
from taskdb.store.engine.session import Row
from taskdb.store.engine.types import as_texts
from taskdb.store.task.statements import Queries, queries_of

_RECENT = timedelta(hours=1)
"""A worker that was not seen for longer is not counted."""


@dataclass(frozen=True, slots=True)
class TaskCount:
    """The count of similar open tasks; `ready` counts those that a worker might take.

    `rule` is the kind of the limit or pause that holds them, or empty. `is_waiting`: they wait for
    sub-tasks or a callback, without a worker.
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
class ScheduleCounts:
    """Counts of enabled schedules and of those that cannot fire, and the longest delay."""

    enabled: int
    broken: int
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class AlarmCounts:
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
class SubscriptionCounts:
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

    def tasks(self, *, by_tenant: bool) -> list[TaskCount]:
        """Count open tasks by status, type, queue, tenant, holding reason and waiting."""
        found = self._database.survey(self._queries.open_tasks, {"by_tenant": by_tenant})
        return [
            TaskCount(
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
        found = self._ask(self._queries.workers, recent=(lease + _RECENT).total_seconds())
        live = [row for row in found if row["unseen"] <= lease.total_seconds()]
        by_queue: dict[str, int] = {}
        for row in live:
            for queue in as_texts(row["queues"]):
                by_queue[queue] = by_queue.get(queue, 0) + 1
        oldest = max((_seconds(row["unseen"]) or 0.0 for row in live), default=0.0)
        return WorkerCounts(len(live), len(found) - len(live), by_queue, oldest)

    def schedules(self) -> ScheduleCounts:
        """Count enabled schedules."""
        (row,) = self._ask(self._queries.schedules)
        return ScheduleCounts(int(row["enabled"]), int(row["broken"]), _seconds(row["lag"]) or 0.0)

    def alarms(self) -> AlarmCounts:
        """Count unresolved alarms and undelivered messages."""
        found, waiting = self._ask(self._queries.alarms), self._ask(self._queries.messages)
        open_ones = (row for row in found if row["state"] == AlarmState.OPEN)
        return AlarmCounts(
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

    def subscriptions(self) -> SubscriptionCounts:
        """Count all subscriptions; a site has few."""
        found = self._ask(self._queries.subscriptions)
        numbers = {SubscriptionState(row["state"]): int(row["number"]) for row in found}
        active = SubscriptionState.ACTIVE
        failing = sum(int(row["failing"]) for row in found if row["state"] == active)
        return SubscriptionCounts(
            numbers, failing, self._lag_seconds() if active in numbers else 0.0
        )

    def _lag_seconds(self) -> float:
        (row,) = self._ask(self._queries.lag)
        return _seconds(row["lag"]) or 0.0

    def aside(self) -> dict[str, int]:
        """Count the rows set aside by loop."""
        found = self._ask(self._queries.aside)
        return {row["loop"]: int(row["number"]) for row in found}

    def sizes(self) -> dict[str, int]:
        """Return the bytes on disk with all indexes by table; on SQLite of the whole file."""
        found = self._ask(self._queries.sizes)
        return {row["name"]: int(row["size"]) for row in found}

    @property
    def _queries(self) -> Queries:
        return queries_of(self._database.dialect, "doctor/count")

    def _ask(self, sql: str, **parameters: float) -> list[Row]:
        return self._database.query(sql, parameters, writes=False)


def _seconds(value: Any) -> float | None:
    """A duration in seconds; never negative, even if a clock steps back."""
    return None if value is None else max(0.0, float(value))
