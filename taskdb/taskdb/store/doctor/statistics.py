"""Statistics: the database counts the events of the history since the last read.

A statement reads a page of events after a cursor, up to the oldest open transaction. It returns
sums by type, queue and move, with buckets of the waits and runs that ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskdb.model.status import TaskStatus
from taskdb.store.engine.database import Database
from taskdb.store.engine.restore import settle
from taskdb.store.engine.session import Row
from taskdb.store.task.list import EventCursor
from taskdb.store.task.statements import Queries, queries_of

WAIT_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
RUN_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper bounds of the buckets, in seconds."""
_GRACE = timedelta(minutes=1)
"""After a longer gap between reporters the missed events are skipped: no jump in the counters."""


@dataclass(frozen=True, slots=True)
class Durations:
    """Durations: their number, their sum in seconds, and their number up to each bound."""

    number: int
    seconds: float
    up_to: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MoveCounts:
    """The count of moves of one kind, and the waits and runs that they ended."""

    type: str
    queue: str
    tenant: str
    source: TaskStatus | None
    target: TaskStatus
    is_rescue: bool
    is_crash: bool
    number: int
    waits: Durations
    runs: Durations


@dataclass(frozen=True, slots=True)
class Page:
    """The sums of some events, their number, and the cursor after them."""

    happened: tuple[MoveCounts, ...]
    events: int
    cursor: EventCursor


class Statistics:
    """Reads the history for the one process that reports; only one does at a time."""

    def __init__(self, database: Database, holder: str, lease: timedelta) -> None:
        self._database = database
        self._holder = holder
        self._lease = lease.total_seconds()

    @property
    def _queries(self) -> Queries:
        return queries_of(self._database.dialect, "doctor/statistics")

    def begin(self) -> EventCursor | None:
        """Become the reporter, and return its cursor; None while another process is it.

        The first reporter, and one after a longer gap, begins at the end of the history.
        """
        if not settle(self._database):
            return None
        given = {"holder": self._holder, "lease": self._lease, "grace": _GRACE.total_seconds()}
        found = self._database.query(self._queries.begin, given)
        if not found:
            return None
        row = found[0]
        return self._end() if row["xid"] is None else EventCursor(row["xid"], row["event_id"])

    def keep(self, cursor: EventCursor) -> bool:
        """Renew the lease with this cursor; False if another process is the reporter."""
        given = {"holder": self._holder, "lease": self._lease}
        given |= {"xid": cursor.xid, "event_id": cursor.id}
        return bool(self._database.query(self._queries.keep, given))

    def give_up(self) -> None:
        """End the lease, so that another process can begin at once."""
        self._database.query(self._queries.give_up, {"holder": self._holder})

    def read(self, after: EventCursor, limit: int, *, by_tenant: bool) -> Page:
        """Return the sums of at most `limit` events after the cursor."""
        if not settle(self._database):
            return Page((), 0, after)
        given = {"xid": after.xid, "id": after.id, "limit": limit, "by_tenant": by_tenant}
        found = self._database.survey(self._queries.page, given)
        if not found:
            return Page((), 0, after)
        cursor = EventCursor(int(found[0]["last_xid"]), int(found[0]["last_id"]))
        # A deleted task has no type, and a remark is no move.
        moves = (row for row in found if row["type"] and row["from_status"] != row["to_status"])
        happened = tuple(_happened(row) for row in moves)
        return Page(happened, sum(int(row["number"]) for row in found), cursor)

    def lag_seconds(self, after: EventCursor) -> float:
        """Return the age of the oldest unread event in seconds; 0 if there is none."""
        place = {"xid": after.xid, "id": after.id}
        found = self._database.query(self._queries.lag, place, writes=False)
        return max(0.0, float(found[0]["age"])) if found else 0.0

    def _end(self) -> EventCursor:
        """The cursor after all events that can be read now."""
        (row,) = self._database.query(self._queries.end, {}, writes=False)
        return EventCursor(int(row["xid"]), int(row["id"]))


def _happened(row: Row) -> MoveCounts:
    return MoveCounts(
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


def _spread(row: Mapping[str, Any], name: str, bounds: tuple[float, ...]) -> Durations:
    up_to = tuple(int(row[f"{name}_{place}"]) for place in range(len(bounds)))
    return Durations(int(row[f"{name}s"]), max(0.0, float(row[f"{name}_seconds"])), up_to)
