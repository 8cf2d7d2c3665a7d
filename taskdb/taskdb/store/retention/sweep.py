"""Sweeping: removes what no row refers to any more.

Rows of workers, old runs of schedules, days of history, files of payloads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import PurePosixPath

from taskdb.errors import DatabaseError
from taskdb.logger import get_logger
from taskdb.store.engine import faults
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.engine.postgresql.partitions import drop_partition, empty_partitions
from taskdb.store.engine.session import Row
from taskdb.store.engine.types import as_moment
from taskdb.store.payload.payload import Payloads
from taskdb.store.schedule.row import RUN_KEPT
from taskdb.store.task.statements import Queries, queries_of
from taskdb.store.task.task_id import is_id

log = get_logger("taskdb.prune")

WORKER_KEPT = timedelta(days=7)
PAYLOAD_KEPT = timedelta(days=1)
"""A payload is written before the row with its reference, by transactions that may last long."""
SWEEP = "sweep"
_BATCH = 500
_ID_LENGTH = 36
_HALF = ".part-"


class Leftovers:
    """Removes the leftovers of pruning and of crashes, a batch a call."""

    def __init__(
        self, database: Database, aside: Aside, payloads: Payloads, longest: timedelta | None
    ) -> None:
        """`longest` is the longest time that a task is kept; None is for ever."""
        self._database = database
        self._payloads = payloads
        self._longest = longest
        self._aside = aside
        self._files: Iterator[str] | None = None

    @property
    def _queries(self) -> Queries:
        return queries_of(self._database.dialect, "retention/queries")

    def workers(self) -> int:
        """Delete some rows of workers not seen for 7 days that no running task refers to."""
        return sum(
            self._delete(found, self._queries.delete_workers, WORKER_KEPT)
            for found in (self._queries.stopped_workers, self._queries.lost_workers)
        )

    def schedule_runs(self) -> int:
        """Delete some old runs of schedules; the last run of an existing schedule stays."""
        return self._delete(self._queries.old_runs, self._queries.delete_runs, RUN_KEPT)

    def partitions(self) -> list[str]:
        """Drop empty days of history older than the longest retention; none on SQLite.

        Stops at the first day that is in use; the next call tries the rest.
        """
        if not self._database.dialect.has_partitions or self._longest is None:
            return []
        (row,) = self._database.query(
            f"SELECT {self._database.dialect.now} AS now", {}, writes=False
        )
        moment = as_moment(row["now"])
        if moment is None:
            return []
        edge = moment - self._longest
        found = self._database.read(lambda connection: empty_partitions(connection, edge))
        dropped = []
        for name in found:
            is_dropped = self._is_dropped(name)
            if is_dropped is None:
                # Each wait for the lock stops all other transactions: one a pass.
                break
            if is_dropped:
                dropped.append(name)
        return dropped

    def payloads(self) -> tuple[int, bool]:
        """Check some old payload files, and remove those that no row refers to.

        Returns the number of removed files, and whether more files are left to check.
        """
        if self._files is None:
            self._files = self._payloads.older_than(PAYLOAD_KEPT)
        files = list(islice(self._files, _BATCH))
        orphans = self._without_row(files)
        self._aside.each(SWEEP, orphans, self._payloads.remove)
        is_more = len(files) == _BATCH
        if not is_more:
            self._files = None
            self._aside.over(SWEEP, 0.0)
        return len(orphans), is_more

    def _delete(self, find: str, delete: str, kept: timedelta) -> int:
        """Delete the rows that a statement finds; set a row aside that cannot be deleted."""
        given = {"kept": kept.total_seconds(), "limit": _BATCH}
        rows = self._database.query(find, given, writes=False)

        def work(some: Sequence[Row]) -> list[Row]:
            return self._database.query(delete, {"gone": json.dumps([dict(row) for row in some])})

        def key(row: Row) -> str:
            return str(next(iter(row.values())))

        return len(self._aside.batch(SWEEP, rows, work, key=key))

    def _is_dropped(self, name: str) -> bool | None:
        """Drop a day; None if it is in use."""
        try:
            with self._database.transaction() as connection:
                return drop_partition(connection, name)
        except DatabaseError as error:
            if not faults.is_lock_timeout(error.__cause__):
                raise
            log.info("partition.drop_postponed", name=name)
            return None

    def _without_row(self, references: Sequence[str]) -> list[str]:
        """Our files that no row refers to; files of others are left alone."""
        owners = {reference: _owner(reference) for reference in references}
        named = self._named({one: owner for one, owner in owners.items() if owner})
        return [
            one
            for one, owner in owners.items()
            if (owner is not None and one not in named) or _is_half(one)
        ]

    def _named(self, owners: dict[str, str]) -> set[str]:
        """The files that some row refers to.

        A row may refer to the result of another one: that of the previous step as its input, or
        that of its last sub-task as its result. A submit that found a FAILED task with its unique
        key gave that task an input file that has the id of a task that was never created.
        """
        if not owners:
            return set()
        given = {"given": json.dumps([{"ref": reference} for reference in owners])}
        found = self._database.query(self._queries.named_as_input, given, writes=False)
        return {row["ref"] for row in found} | self._named_as_result(owners)

    def _named_as_result(self, owners: dict[str, str]) -> set[str]:
        """The files that their own task, or one of its parents, refers to as result."""
        named: set[str] = set()
        above = owners
        while above:
            ids = {"ids": json.dumps(sorted(set(above.values())))}
            found = self._database.query(self._queries.named_as_result, ids, writes=False)
            rows = {row["id"]: row for row in found}
            known = {one: rows[owner] for one, owner in above.items() if owner in rows}
            named |= {one for one, row in known.items() if row["result_ref"] == one}
            above = {one: row["parent_id"] for one, row in known.items() if row["parent_id"]}
        return named


def _owner(reference: str) -> str | None:
    """The id of the task that a file was written for; the name begins with it."""
    owner = PurePosixPath(reference).name[:_ID_LENGTH]
    return owner if is_id(owner) else None


def _is_half(reference: str) -> bool:
    return PurePosixPath(reference).name.startswith(_HALF)
