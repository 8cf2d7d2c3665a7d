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
from taskdb.store.engine.aside import Aside, not_aside
from taskdb.store.engine.database import Database
from taskdb.store.engine.dialect import Columns
from taskdb.store.engine.postgresql.partitions import drop_partition, empty_partitions
from taskdb.store.engine.session import Row
from taskdb.store.engine.types import as_moment
from taskdb.store.payload.payload import Payloads
from taskdb.store.schedule.row import RUN_KEPT
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

    def workers(self) -> int:
        """Delete some rows of workers not seen for 7 days that no running task refers to."""
        d = self._database.dialect
        edge = f"(SELECT {d.later('-:kept')})"
        return self._old_workers(f"old.stopped_at < {edge}") + self._old_workers(
            # `seen_at` has no index, but few rows have no `stopped_at`.
            f"old.stopped_at IS NULL AND old.started_at < {edge}"
            f" AND COALESCE(old.seen_at, old.started_at) < {edge}"
        )

    def _old_workers(self, condition: str) -> int:
        sql = (
            f"SELECT old.id FROM taskdb_worker AS old WHERE {condition}"
            " AND old.id NOT IN (SELECT t.worker FROM taskdb_task AS t WHERE t.worker IS NOT NULL"
            " AND t.status <> 'COMPLETED' AND t.status IN ('STARTED','PROCESSING'))"
            f" AND {not_aside(self._database.dialect, SWEEP, 'old.id')} LIMIT :limit"
        )
        return self._delete("taskdb_worker", {"id": "text"}, sql, WORKER_KEPT)

    def schedule_runs(self) -> int:
        """Delete some old runs of schedules; the last run of an existing schedule stays."""
        d = self._database.dialect
        sql = (
            "SELECT CAST(r.schedule_id AS TEXT) AS schedule_id, CAST(r.due_at AS TEXT) AS due_at"
            " FROM taskdb_schedule_run AS"
            f" r{d.looked_up('taskdb_schedule', 'id', 's.id = r.schedule_id', 's')}"
            f" WHERE r.due_at < (SELECT {d.later('-:kept')}) AND (s.id IS NULL OR EXISTS (SELECT 1"
            " FROM taskdb_schedule_run AS n WHERE n.schedule_id = r.schedule_id"
            f" AND n.due_at > r.due_at)) AND {not_aside(d, SWEEP, 'r.schedule_id')}"
            " ORDER BY r.due_at LIMIT :limit"
        )
        return self._delete(
            "taskdb_schedule_run", {"schedule_id": "id", "due_at": "moment"}, sql, RUN_KEPT
        )

    def partitions(self) -> list[str]:
        """Drop empty days of history older than the longest retention; none on SQLite.

        Stops at the first day that is in use; the next call tries the rest.
        """
        if self._database.dialect.name != "postgresql" or self._longest is None:
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

    def _delete(self, table: str, columns: Columns, found: str, kept: timedelta) -> int:
        """Delete the rows that a statement finds; set a row aside that cannot be deleted."""
        names = ", ".join(columns)
        drafts = ", ".join(f"draft.{name}" for name in columns)
        sql = (
            f"DELETE FROM {table} WHERE ({names}) IN (SELECT {drafts}"
            f" FROM {self._database.dialect.drafts('gone', columns)}) RETURNING 1 AS one"
        )
        given = {"kept": kept.total_seconds(), "limit": _BATCH}
        rows = self._database.query(found, given, writes=False)
        first = next(iter(columns))

        def delete(some: Sequence[Row]) -> list[Row]:
            return self._database.query(sql, {"gone": json.dumps([dict(row) for row in some])})

        return len(self._aside.batch(SWEEP, rows, delete, key=lambda row: str(row[first])))

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
        d = self._database.dialect
        given = json.dumps([{"ref": reference} for reference in owners])
        sql = (
            f"SELECT draft.ref FROM {d.drafts('given', {'ref': 'text'})}"
            " JOIN taskdb_task AS t ON t.input_ref = draft.ref WHERE t.input_ref IS NOT NULL"
        )
        named = {row["ref"] for row in self._database.query(sql, {"given": given}, writes=False)}
        return named | self._named_as_result(owners)

    def _named_as_result(self, owners: dict[str, str]) -> set[str]:
        """The files that their own task, or one of its parents, refers to as result.

        One statement a level: the planner expects a recursive statement to read most of the table.
        """
        sql = (
            "SELECT CAST(id AS TEXT) AS id, CAST(parent_id AS TEXT) AS parent_id, result_ref"
            f" FROM taskdb_task WHERE id IN {self._database.dialect.listed_ids('ids')}"
        )
        named: set[str] = set()
        above = owners
        while above:
            ids = json.dumps(sorted(set(above.values())))
            found = self._database.query(sql, {"ids": ids}, writes=False)
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
