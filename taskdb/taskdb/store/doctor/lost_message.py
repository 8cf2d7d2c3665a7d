"""QUEUED rows whose message the broker may have lost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.engine.session import Row
from taskdb.store.engine.types import as_moment, as_texts, moment
from taskdb.store.task.detail import spelled_reason
from taskdb.store.task.statements import Queries, moves_for, queries_of

REQUEUE = "requeue"

QueueAndPriority = tuple[str, int]
"""A queue and a priority; workers take such messages in the order in which they came."""


@dataclass(frozen=True, slots=True)
class QueuedRow:
    """A row whose message is with the broker, according to the row."""

    id: str
    chunk: str | None
    queue: str
    priority: int
    queued_at: datetime
    created_at: datetime

    @property
    def message(self) -> str:
        """The id of its message."""
        return self.chunk or self.id


@dataclass(frozen=True, slots=True)
class LiveWorkers:
    """The queues that the live workers consume, and the messages that they have."""

    now: datetime
    queues: frozenset[str]
    messages: frozenset[str]


class LostMessages:
    """The queries and the one move of the search for lost messages."""

    def __init__(self, database: Database, aside: Aside) -> None:
        self._database = database
        self._aside = aside

    @property
    def _queries(self) -> Queries:
        return queries_of(self._database.dialect, "doctor/queries")

    def live_workers(self, lease: timedelta) -> LiveWorkers:
        """Return the workers seen within the lease, and the time by the store's clock."""
        given = {"lease": lease.total_seconds()}
        found = self._database.query(self._queries.live_workers, given, writes=False)
        return LiveWorkers(
            moment(found[0]["now"]),
            frozenset(queue for row in found for queue in as_texts(row["queues"])),
            frozenset(one for row in found for one in as_texts(row["messages"])),
        )

    def taken(self, within: timedelta | None = None) -> dict[QueueAndPriority, datetime]:
        """Return when the newest message of a running task came, by queue and priority.

        `within` adds tasks that began within this time and may be over, for a caller without
        earlier searches. That reads the whole table.
        """
        given = {"within": within.total_seconds()} if within else {}
        sql = self._queries.taken_within if within else self._queries.taken
        found = self._database.query(sql, given, writes=False)
        return {(row["queue"], row["priority"]): moment(row["newest"]) for row in found}

    def queued(self, after: QueuedRow | None, limit: int) -> list[QueuedRow]:
        """Return QUEUED rows after this one, oldest tasks first."""
        sql = self._queries.queued_behind if after else self._queries.queued
        given = {"created_at": after.created_at, "id": after.id} if after else {}
        found = self._database.query(sql, {"limit": limit, **given}, writes=False)
        return self._aside.each(REQUEUE, found, _queued, key=lambda row: str(row["id"]))

    def over(self, took: float) -> None:
        """End a round of `took` seconds that has checked every QUEUED row."""
        self._aside.over(REQUEUE, took)

    def hand_back(self, rows: Sequence[QueuedRow], reason: str, now: datetime) -> set[str]:
        """Hand back rows, to be published again. Returns the ids of rows not taken meanwhile.

        `now` is the time of the workers' snapshot: a row queued after it has another message.
        """
        written = {
            "ids": json.dumps([row.id for row in rows]),
            "seen": now,
            "delay": 0.0,
            "detail": spelled_reason(reason),
        }
        moved = self._aside.move(REQUEUE, moves_for(self._database.dialect).hand_back_lost, written)
        return {one.id for one in moved if one.after is not None}


def _queued(row: Row) -> QueuedRow:
    return QueuedRow(
        str(row["id"]),
        None if row["chunk"] is None else str(row["chunk"]),
        row["queue"],
        row["priority"],
        as_moment(row["queued_at"]) or moment(row["created_at"]),
        moment(row["created_at"]),
    )


def overtaken(
    rows: Iterable[QueuedRow], taken: dict[QueueAndPriority, datetime], by: timedelta
) -> list[QueuedRow]:
    """The rows that a taken message of the same queue and priority overtook `by` this time."""
    return [
        row
        for row in rows
        if (newest := taken.get((row.queue, row.priority))) and row.queued_at <= newest - by
    ]
