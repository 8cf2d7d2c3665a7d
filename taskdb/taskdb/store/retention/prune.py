"""Pruning: deletes tasks that have been over for long enough, as whole trees, oldest first.

The age of the root decides. A tree is deleted from its leaves up, the root last, one batch a
transaction. Each batch locks the root and checks again whether it is due, since a user may have
retried it. The first batch marks the root: an incomplete tree never runs again. History is deleted
with its task. Payload files are deleted after the whole tree; the sweep finds those that a crash
leaves.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from taskdb.errors import PayloadMissing
from taskdb.logger import get_logger
from taskdb.model.retention import Retention
from taskdb.model.status import TaskStatus
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.engine.session import JoinedSession, Row
from taskdb.store.engine.task_table import task, task_event
from taskdb.store.engine.types import as_moment
from taskdb.store.payload.payload import Payloads
from taskdb.store.retention.archive import Archive
from taskdb.store.task.statements import queries_of
from taskdb.store.tree.growth import PRUNED

log = get_logger("taskdb.prune")

PRUNE = "prune"
QUERIES = "retention/queries"
_LOOK = 2_000
"""Rows that one statement checks."""
_BATCH = 500
"""Rows that one transaction deletes."""
_SKEW = timedelta(days=1)
"""The most that a clock may step back between a task's creation and its next event."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Counts of deleted rows: `tasks` are roots, `rows` include sub-tasks."""

    tasks: int = 0
    rows: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(self.tasks + other.tasks, self.rows + other.rows)


NOTHING = Pruned()


class PruneRounds:
    """Prunes in rounds over all old tasks. Remembers its place in the current round."""

    def __init__(
        self,
        database: Database,
        aside: Aside,
        payloads: Payloads,
        retention: Retention,
        archive: Archive | None = None,
    ) -> None:
        self._database = database
        self._payloads = payloads
        self._retention = retention
        self._archive = archive
        self._after: Row | None = None
        self._due: deque[str] = deque()
        self._is_more = True
        self._aside = aside
        self._began = time.monotonic()

    @property
    def is_round_over(self) -> bool:
        """Whether the round has checked all old tasks; the next run begins with the oldest."""
        return not self._is_more and not self._due

    def run(self, seconds: float) -> Pruned:
        """Prune for about `seconds`, or to the end of the round.

        The next round checks tasks again whose pruning an error interrupted. Raises DatabaseError,
        and OSError if the archive cannot be written.
        """
        until = time.monotonic() + seconds
        if self._after is None and not self._due:
            self._began = until - seconds
        pruned = NOTHING
        self._is_more = self._is_more or not self._due
        while not self.is_round_over and time.monotonic() < until:
            if self._due:
                pruned += self._prune_some(until)
            else:
                self._look_further()
        if self.is_round_over:
            self._aside.over(PRUNE, time.monotonic() - self._began)
        return pruned

    def due(self) -> Counter[TaskStatus]:
        """Count the tasks due for pruning by status, without sub-tasks; changes nothing."""
        counted: Counter[TaskStatus] = Counter()
        after: Row | None = None
        while True:
            found = self._look(after)
            counted.update(TaskStatus(row["status"]) for row in found if self._is_due(row))
            if len(found) < _LOOK:
                return counted
            after = found[-1]

    # --- due tasks ----------------------------------------------------------------------------

    def _look_further(self) -> None:
        found = self._look(self._after)
        due = self._aside.each(PRUNE, found, self._id_if_due, key=lambda row: str(row["id"]))
        self._due.extend(task_id for task_id in due if task_id is not None)
        self._is_more = len(found) == _LOOK
        self._after = found[-1] if self._is_more else None

    def _look(self, after: Row | None) -> list[Row]:
        """Return the next rows in order of creation, due or not, so that the work is bounded."""
        shortest = self._retention.shortest
        if shortest is None:
            return []
        queries = queries_of(self._database.dialect, QUERIES)
        place = {"created_at": after["created_at"], "id": after["id"]} if after else {}
        wanted = {"shortest": shortest.total_seconds(), "limit": _LOOK, **place}
        sql = queries.look_behind if after else queries.look
        return self._database.query(sql, wanted, writes=False)

    def _id_if_due(self, row: Row) -> str | None:
        return str(row["id"]) if self._is_due(row) else None

    def _is_due(self, row: Row) -> bool:
        if row["parent_id"] is not None:
            return False
        return self._retention.is_due(
            TaskStatus(row["status"]),
            row["type"],
            row["tenant"],
            ended_at=_moment(row["ended_at"]),
            now=_moment(row["now"]),
        )

    # --- deletion -----------------------------------------------------------------------------

    def _prune_some(self, until: float) -> Pruned:
        """Prune the next tasks: those without sub-tasks together, then each tree."""
        ids = [self._due.popleft() for _ in range(min(_BATCH, len(self._due)))]
        done = self._aside.batch(PRUNE, ids, self._prune_roots, unless=(OSError,))
        pruned = sum((count for count, _ in done), NOTHING)
        trees = [tree for _, several in done for tree in several]
        while trees and time.monotonic() < until:
            some = self._aside.each(
                PRUNE, trees[:1], lambda root: self._prune_tree(root, until), unless=(OSError,)
            )
            pruned += sum(some, NOTHING)
            trees.pop(0)
        self._due.extendleft(reversed(trees))
        return pruned

    def _prune_roots(self, ids: Sequence[str]) -> list[tuple[Pruned, list[str]]]:
        """Prune tasks without sub-tasks. Returns their number, and the ids of roots of trees."""
        with self._batch() as batch:
            roots = batch.lock(ids)
            due = [row for row in roots if self._is_due(row)]
            batch.delete([row for row in due if not row["has_sub_tasks"]])
        self._forget(batch.references)
        trees = [str(row["id"]) for row in due if row["has_sub_tasks"]]
        return [(Pruned(batch.count, batch.count), trees)]

    def _prune_tree(self, root_id: str, until: float) -> Pruned:
        """Prune one tree, or a part until the time is over; then the root is the next task."""
        references: list[str] = []
        pruned = NOTHING
        while True:
            with self._batch() as batch:
                root = next((row for row in batch.lock([root_id]) if self._is_due(row)), None)
                if root is None:
                    return pruned
                going = batch.leaves(root_id) if root["has_sub_tasks"] else [root]
                if going and root["has_sub_tasks"]:
                    batch.mark(root_id)
                batch.delete(going)
            references += batch.references
            is_whole = going == [root]
            pruned += Pruned(1 if is_whole else 0, batch.count)
            if is_whole:
                self._forget(references)
            if is_whole or not going:
                return pruned
            if time.monotonic() >= until:
                self._due.appendleft(root_id)
                return pruned

    @contextmanager
    def _batch(self) -> Iterator[_Batch]:
        # It writes and syncs the archive, which a slow disk may delay.
        with self._database.transaction(may_idle=True) as connection:
            yield _Batch(self._database, connection, self._payloads, self._archive)

    def _forget(self, references: list[str]) -> None:
        for reference in dict.fromkeys(references):
            self._payloads.discard(reference)


class _Batch:
    """One transaction of pruning."""

    def __init__(
        self,
        database: Database,
        connection: Connection,
        payloads: Payloads,
        archive: Archive | None,
    ) -> None:
        self._database = database
        self._connection = connection
        self._session = JoinedSession(connection)
        self._queries = queries_of(database.dialect, QUERIES)
        self._payloads = payloads
        self._archive = archive
        self.references: list[str] = []
        """References to payloads of the deleted rows."""
        self.count = 0

    def lock(self, ids: Sequence[str]) -> list[Row]:
        """Lock these roots and return them; leave out those that another transaction has."""
        return self._query(self._queries.lock_roots, ids=json.dumps(list(ids)), limit=_BATCH)

    def mark(self, root_id: str) -> None:
        """Mark a tree that loses sub-tasks: a retry of it is refused."""
        self._query(self._queries.mark, id=root_id)

    def leaves(self, node: str) -> list[Row]:
        """Return some descendants without sub-tasks, at most a batch.

        Returns an empty list if other transactions have locked all of them. Also if a descendant is
        open, which is logged: the tree of an ended root has no open task, so something is wrong,
        and the tree is kept.
        """
        while True:
            found = self._query(self._queries.lock_below, node=node, limit=_BATCH)
            open_row = next((row for row in found if not _is_over(row)), None)
            if open_row is not None:
                log.warning("prune.skipped", task_id=str(open_row["id"]), parent_id=node)
                return []
            leaves = [row for row in found if not row["has_sub_tasks"]]
            if leaves or not found:
                return leaves
            node = str(found[0]["id"])

    def delete(self, rows: Sequence[Row]) -> None:
        """Archive these rows, then delete them and their history."""
        if not rows:
            return
        ids = [str(row["id"]) for row in rows]
        # The delete need not search older days of the history.
        since = min(_moment(row["created_at"]) for row in rows) - _SKEW
        if self._archive is not None:
            at = _moment(rows[0]["now"])
            self._archive.append(self._records(ids, since), at)
        given = {"ids": json.dumps(ids), "since": since}
        self._query(self._queries.delete_history, **given)
        self._query(self._queries.delete_tasks, **given)
        named = (row[column] for row in rows for column in ("input_ref", "result_ref"))
        self.references += [reference for reference in named if reference is not None]
        self.count += len(rows)

    def _query(self, sql: str, **parameters: Any) -> list[Row]:
        bound = self._database.parameters(parameters)
        return self._database.dialect.query(self._session, sql, bound)

    def _records(self, ids: Sequence[str], since: datetime) -> Iterator[Mapping[str, Any]]:
        """The archive record of each task: all columns, payloads instead of references, history."""
        history: dict[str, list[dict[str, Any]]] = {task_id: [] for task_id in ids}
        events = select(task_event).where(task_event.c.task_id.in_(ids), task_event.c.at >= since)
        for event in self._connection.execute(events.order_by(task_event.c.id)).mappings():
            history[str(event["task_id"])].append(dict(event))
        for row in self._connection.execute(select(task).where(task.c.id.in_(ids))).mappings():
            record = dict(row)
            for column in ("input", "result"):
                if record[f"{column}_ref"] is not None:
                    record[column] = self._content(record["id"], record[f"{column}_ref"])
            record["spec"] = _without_mark(record["spec"])
            yield {**record, "history": history[str(row["id"])]}

    def _content(self, task_id: str, reference: str) -> Any:
        try:
            return self._payloads.read(reference)
        except (PayloadMissing, OSError):
            # An OSError of the archive file itself is raised elsewhere.
            log.warning("archive.payload_lost", task_id=task_id, reference=reference)
            return None


def _is_over(row: Row) -> bool:
    return TaskStatus(row["status"]).is_terminal


def _without_mark(spec: dict[str, Any] | None) -> dict[str, Any] | None:
    """The spec of a task as it was before pruning began."""
    if spec is None or PRUNED not in spec:
        return spec
    return {name: value for name, value in spec.items() if name != PRUNED} or None


def _moment(value: Any) -> datetime:
    found = as_moment(value)
    if found is None:
        raise TypeError(value)
    return found
