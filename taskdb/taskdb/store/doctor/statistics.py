"""Statistics: the database counts the events of the history since the last read.

A statement reads a page of events after a cursor, up to the oldest open transaction. It returns
sums by type, queue and move, with buckets of the waits and runs that ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskdb.model.status import RUNNING, TaskStatus
from taskdb.store.engine.database import Database
from taskdb.store.engine.dialect import StoreDialect
from taskdb.store.engine.event_order import has_order
from taskdb.store.engine.restore import settle
from taskdb.store.engine.session import Row
from taskdb.store.engine.sql_text import listed
from taskdb.store.task.list import OLDEST_OPEN, EventCursor, horizon

WAIT_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
RUN_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper bounds of the buckets, in seconds."""

RESCUED = ("WorkerLost",)
CRASHED = (
    "WorkerLostError",
    "billiard.exceptions.WorkerLostError",
    "taskdb_worker.run.execution.TaskExited",
    "taskdb_worker.run.execution.TaskMemoryError",
)
"""Errors of runs whose worker was lost, and of runs whose process died or would have died."""
_TO_THE_END = 2**63 - 1
_GRACE = timedelta(minutes=1)
"""After a longer gap between reporters the missed events are skipped: no jump in the counters."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations: their number, their sum in seconds, and their number up to each bound."""

    number: int
    seconds: float
    up_to: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Happened:
    """The count of moves of one kind, and the waits and runs that they ended."""

    type: str
    queue: str
    tenant: str
    source: TaskStatus | None
    target: TaskStatus
    is_rescue: bool
    is_crash: bool
    number: int
    waits: Spread
    runs: Spread


@dataclass(frozen=True, slots=True)
class Page:
    """The sums of some events, their number, and the cursor after them."""

    happened: tuple[Happened, ...]
    events: int
    cursor: EventCursor


class Statistics:
    """Reads the history for the one process that reports; only one does at a time."""

    def __init__(self, database: Database, holder: str, lease: timedelta) -> None:
        self._database = database
        self._holder = holder
        self._lease = lease.total_seconds()
        self._read = _page(database.dialect)

    def begin(self) -> EventCursor | None:
        """Become the reporter, and return its cursor; None while another process is it.

        The first reporter, and one after a longer gap, begins at the end of the history.
        """
        if not settle(self._database):
            return None
        d = self._database.dialect
        known = f"old.until >= {d.later('-:grace')}"
        found = self._database.query(
            "INSERT INTO taskdb_reporter AS old (name, holder, until)"
            f" VALUES ('metrics', :holder, {d.later(':lease')})"
            " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,"
            f" xid = CASE WHEN {known} THEN old.xid END,"
            f" event_id = CASE WHEN {known} THEN old.event_id END"
            f" WHERE old.holder = excluded.holder OR old.until < {d.now} RETURNING xid, event_id",
            {"holder": self._holder, "lease": self._lease, "grace": _GRACE.total_seconds()},
        )
        if not found:
            return None
        row = found[0]
        return self._end() if row["xid"] is None else EventCursor(row["xid"], row["event_id"])

    def keep(self, cursor: EventCursor) -> bool:
        """Renew the lease with this cursor; False if another process is the reporter.

        This is the fence: two processes that count the same events cannot both keep them.
        """
        d = self._database.dialect
        return bool(
            self._database.query(
                f"UPDATE taskdb_reporter SET until = {d.later(':lease')}, xid = {d.integer('xid')},"
                f" event_id = {d.integer('event_id')} WHERE name = 'metrics'"
                f" AND holder = :holder RETURNING name{d.lazily}",
                {
                    "holder": self._holder,
                    "lease": self._lease,
                    "xid": cursor.xid,
                    "event_id": cursor.id,
                },
            )
        )

    def give_up(self) -> None:
        """End the lease, so that another process can begin at once."""
        d = self._database.dialect
        self._database.query(
            f"UPDATE taskdb_reporter SET until = {d.now} WHERE name = 'metrics'"
            " AND holder = :holder",
            {"holder": self._holder},
        )

    def read(self, after: EventCursor, limit: int, *, by_tenant: bool) -> Page:
        """Return the sums of at most `limit` events after the cursor."""
        if not settle(self._database):
            return Page((), 0, after)
        given = {"xid": after.xid, "id": after.id, "limit": limit, "by_tenant": by_tenant}
        found = self._database.survey(self._read, given)
        if not found:
            return Page((), 0, after)
        cursor = EventCursor(int(found[0]["last_xid"]), int(found[0]["last_id"]))
        # A deleted task has no type, and a remark is no move.
        moves = (row for row in found if row["type"] and row["from_status"] != row["to_status"])
        happened = tuple(_happened(row) for row in moves)
        return Page(happened, sum(int(row["number"]) for row in found), cursor)

    def lag_seconds(self, after: EventCursor) -> float:
        """Return the age of the oldest unread event in seconds; 0 if there is none."""
        d = self._database.dialect
        found = self._database.query(
            f"SELECT {d.elapsed('at', d.now)} AS age FROM taskdb_event"
            f" WHERE (xid, id) > ({d.integer('xid')}, {d.integer('id')})"
            f" AND {has_order(d.name, 'xid')} ORDER BY xid, id LIMIT 1",
            {"xid": after.xid, "id": after.id},
            writes=False,
        )
        return max(0.0, float(found[0]["age"])) if found else 0.0

    def _end(self) -> EventCursor:
        """The cursor after all events that can be read now."""
        if self._database.dialect.name == "postgresql":
            (row,) = self._database.query(
                f"SELECT {OLDEST_OPEN} - 1 AS xid",
                {},
                writes=False,
            )
            return EventCursor(int(row["xid"]), _TO_THE_END)
        (row,) = self._database.query(
            "SELECT COALESCE(max(id), 0) AS id FROM taskdb_event", {}, writes=False
        )
        return EventCursor(0, int(row["id"]))


def _page(d: StoreDialect) -> str:
    error = d.text_in("detail", "error")
    page = (
        "SELECT xid, id, task_id, from_status, to_status, attempt, worker, at,"
        f" CASE WHEN {error} IN ({_quoted(RESCUED)}) THEN 'rescued'"
        f" WHEN {error} IN ({_quoted(CRASHED)}) THEN 'crashed' ELSE '' END AS loss"
        f" FROM taskdb_event WHERE (xid, id) > ({d.integer('xid')}, {d.integer('id')})"
        f" AND {horizon(d.name)} ORDER BY xid, id LIMIT :limit"
    )
    columns = "type, queue, tenant, attempt, created_at, run_at, queued_at, started_at"
    each = (
        "SELECT found.type, found.queue,"
        f" CASE WHEN {d.truth('by_tenant')} THEN found.tenant ELSE '' END AS tenant,"
        f" page.from_status, page.to_status, page.loss, {_wait(d)} AS wait, {_run(d)} AS run"
        f" FROM page{d.looked_up('taskdb_task', columns, 'found.id = page.task_id')}"
    )
    last = "FROM page ORDER BY xid DESC, id DESC LIMIT 1"
    return (
        f"WITH page AS ({page}), each AS ({each})"
        " SELECT type, queue, tenant, from_status, to_status, loss, count(*) AS number,"
        f" {_sums('wait', WAIT_SECONDS)}, {_sums('run', RUN_SECONDS)},"
        f" (SELECT xid {last}) AS last_xid, (SELECT id {last}) AS last_id"
        " FROM each GROUP BY type, queue, tenant, from_status, to_status, loss"
    )


def _wait(d: StoreDialect) -> str:
    """SQL: the seconds from queued to claimed; for a first attempt never QUEUED, from its due time.

    NULL for a later attempt that was never QUEUED: the start of its wait is unknown.
    """
    due = d.latest("found.created_at", "COALESCE(found.run_at, found.created_at)")
    queued = (
        "CASE WHEN found.queued_at <= page.at THEN found.queued_at"
        f" ELSE {_before('QUEUED', 'page.attempt - 1')} END"
    )
    return (
        "CASE WHEN page.to_status <> 'STARTED' THEN NULL"
        f" WHEN page.from_status = 'QUEUED' THEN {d.elapsed(f'({queued})', 'page.at')}"
        f" WHEN page.attempt = 1 THEN {d.elapsed(due, 'page.at')} END"
    )


def _run(d: StoreDialect) -> str:
    """SQL: the seconds from claimed to the end of the attempt; NULL if its worker was lost."""
    running = listed(RUNNING)
    started = (
        "CASE WHEN found.attempt = page.attempt THEN found.started_at"
        f" ELSE {_before('STARTED', 'page.attempt')} END"
    )
    return (
        "CASE WHEN page.worker IS NOT NULL AND page.loss <> 'rescued'"
        f" AND page.from_status IN ({running}) AND page.to_status NOT IN ({running})"
        f" THEN {d.elapsed(f'({started})', 'page.at')} END"
    )


def _before(status: str, attempt: str) -> str:
    """SQL: when the task last got a status in an attempt before this event, by the history."""
    return (
        "(SELECT max(e.at) FROM taskdb_event AS e WHERE e.task_id = page.task_id"
        f" AND e.to_status = '{status}' AND e.attempt = {attempt} AND e.id < page.id)"
    )


def _sums(name: str, bounds: tuple[float, ...]) -> str:
    buckets = ", ".join(
        f"count(CASE WHEN {name} <= {bound} THEN 1 END) AS {name}_{place}"
        for place, bound in enumerate(bounds)
    )
    return f"count({name}) AS {name}s, COALESCE(sum({name}), 0) AS {name}_seconds, {buckets}"


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in names)


def _happened(row: Row) -> Happened:
    return Happened(
        type=row["type"],
        queue=row["queue"],
        tenant=row["tenant"],
        source=TaskStatus(row["from_status"]) if row["from_status"] else None,
        target=TaskStatus(row["to_status"]),
        is_rescue=row["loss"] == "rescued",
        is_crash=row["loss"] == "crashed",
        number=int(row["number"]),
        waits=_spread(row, "wait", WAIT_SECONDS),
        runs=_spread(row, "run", RUN_SECONDS),
    )


def _spread(row: Mapping[str, Any], name: str, bounds: tuple[float, ...]) -> Spread:
    up_to = tuple(int(row[f"{name}_{place}"]) for place in range(len(bounds)))
    return Spread(int(row[f"{name}s"]), max(0.0, float(row[f"{name}_seconds"])), up_to)
