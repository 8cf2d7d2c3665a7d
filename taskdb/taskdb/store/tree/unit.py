"""Several statements in one transaction, for changes of a parent together with its sub-tasks.

A unit always locks parents before their sub-tasks, so that two units never deadlock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from taskdb.model.entity import TaskError
from taskdb.model.fan_out import Counts
from taskdb.model.json_text import encode
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Draft, OnConflict, Publication
from taskdb.store.engine.aside import is_of_a_row
from taskdb.store.engine.database import Database
from taskdb.store.engine.dialect import Moved, MoveStatement
from taskdb.store.engine.session import JoinedSession, Row
from taskdb.store.engine.types import as_json
from taskdb.store.task import row as rows
from taskdb.store.task.create import Created, Creation
from taskdb.store.task.detail import spelled_reason
from taskdb.store.task.parent import PARENT, Parent
from taskdb.store.task.statements import moves_for, queries_of
from taskdb.store.task.task_id import LEAST_ID

_STEP = 1_000


@dataclass(frozen=True, slots=True)
class SubTask:
    """A step or a handler, with the columns that the decisions of its parent read."""

    id: str
    status: TaskStatus
    position: int
    name: str
    result: Any
    result_ref: str | None
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Window:
    """The window of a fan-out: whether a part is held, whether one is bad, how many are busy."""

    is_held: bool
    is_bad: bool
    busy: int


@dataclass(slots=True)
class FollowUp:
    """The work that follows the commit of a unit."""

    ids: list[str] = field(default_factory=list)
    """The ids of rows to publish."""
    families: list[str] = field(default_factory=list)
    """The ids of parents whose parts are to be published."""
    publications: list[Publication] = field(default_factory=list)
    """The publications of the rows, where they had to be read before the commit."""
    joins: list[str] = field(default_factory=list)
    """The ids of parents that may have nothing left to wait for."""
    failed: list[tuple[str, Exception]] = field(default_factory=list)
    """The ids of rows that a careful unit left out of a move of many, with their errors."""


class Unit:
    """One transaction, over a connection of the store or of the caller."""

    def __init__(
        self,
        database: Database,
        connection: Connection,
        grace: timedelta,
        *,
        is_careful: bool = False,
    ) -> None:
        """`is_careful`: leave out a row that fails in a move of many, and move the others."""
        self._connection = connection
        self._session = JoinedSession(connection)
        self._constants = database.parameters({})
        self.dialect = database.spoken(connection.dialect.name)
        self.moves, self._queries = (
            moves_for(self.dialect),
            queries_of(self.dialect, "task/queries"),
        )
        self._grace = grace
        self._is_careful = is_careful
        self.by: str | None = None
        """The actor, where a person makes the changes of this unit."""
        self.after = FollowUp()

    def savepoint(self) -> AbstractContextManager[object]:
        """Return a savepoint. An error in it rolls back its statements, not the whole unit."""
        return self._connection.begin_nested()

    def lock(self, task_id: str) -> Parent | None:
        """Lock a row until the unit ends. Returns None where there is no row."""
        found = self.query(self._queries.lock, {"id": task_id})
        return PARENT.read(found[0]) if found else None

    def place(self, task_id: str) -> Row | None:
        """Return the place of a row in its tree, and its status; None where there is no row."""
        found = self.query(self._queries.place, {"id": task_id})
        return found[0] if found else None

    def create(self, drafts: Sequence[Draft], on_conflict: OnConflict = "keep") -> list[Created]:
        """Insert rows. Returns the row of each draft, new or found."""
        return self._creation().create(drafts, on_conflict)

    def insert(self, drafts: Sequence[Draft]) -> None:
        """Insert rows without unique keys."""
        self._creation().insert(drafts)

    def _creation(self) -> Creation:
        return Creation(self._session, self.dialect, self._constants, self._grace)

    def move(self, statement: MoveStatement, task_id: str, **written: Any) -> Moved | None:
        """Carry out a move of one row. Returns None where there is no row."""
        moved = self._move(statement, {"id": task_id, **written})
        return moved[0] if moved else None

    def move_all(self, statement: MoveStatement, ids: Iterable[str], **written: Any) -> list[Moved]:
        """Carry out a move of many rows."""
        listed = list(ids)
        if self._is_careful:
            return self._move_apart(statement, listed, written)
        return self._move(statement, {"ids": json.dumps(listed), **written})

    def _move_apart(
        self, statement: MoveStatement, ids: list[str], written: dict[str, Any]
    ) -> list[Moved]:
        """Move rows in savepoints. Rows that fail are set aside after the commit of the unit."""
        try:
            with self.savepoint():
                return self._move(statement, {"ids": json.dumps(ids), **written})
        except Exception as error:
            if not is_of_a_row(error):
                raise
            if len(ids) == 1:
                self.after.failed.append((ids[0], error))
                return []
        half = len(ids) // 2
        parts = (ids[:half], ids[half:])
        return [one for part in parts for one in self._move_apart(statement, part, written)]

    def move_given(
        self, statement: MoveStatement, drafts: Sequence[Draft], **written: Any
    ) -> list[Moved]:
        """Carry out a move of the rows with the ids of these drafts, with the values of each.

        The inputs of the rows stay as they are.
        """
        as_json = self._creation().as_json
        asked = ",".join(
            as_json(replace(one, input=None, input_text=None, input_ref=None)) for one in drafts
        )
        ids = json.dumps([one.id for one in drafts])
        return self._move(statement, {"ids": ids, "given": f"[{asked}]", **written})

    def is_awaited(self, task_id: str, digest: str) -> bool:
        """Return whether this locked task still waits for the callback of this token."""
        found = self.query(self._queries.awaiting, {"hash": digest})
        return any(str(row["id"]) == task_id for row in found)

    def is_late(self, task_id: str) -> bool:
        """Return whether this locked task waits for a callback whose deadline passed."""
        return bool(self.query(self._queries.late_callback, {"id": task_id}))

    def counts(self, parent_id: str) -> Counts:
        """Count the parts of a parent by status."""
        return counts_of(self.query(self._queries.counts, {"parent": parent_id}))

    def window(self, parent_id: str) -> Window:
        """Return the window of a fan-out that limits the number of released parts."""
        row = self.query(self._queries.window, {"parent": parent_id})[0]
        return Window(bool(row["is_held"]), bool(row["is_bad"]), int(row["busy"]))

    def newest_step(self, parent_id: str, base: int) -> SubTask | None:
        """Return the last step at or behind the position `base`; None where there is none."""
        found = self.query(self._queries.newest_step, {"parent": parent_id, "base": base})
        return _sub_task(found[0]) if found else None

    def handlers(self, parent_id: str, first: int, last: int) -> list[SubTask]:
        """Return the handlers at these positions, in order."""
        place = {"parent": parent_id, "first": first, "last": last}
        return [_sub_task(row) for row in self.query(self._queries.handlers, place)]

    def open_ids(self, parent_id: str, after: str = LEAST_ID) -> list[str]:
        """Return a page of open sub-tasks behind this id of which no cancel was requested."""
        place = {"parent": parent_id, "after": after, "limit": _STEP}
        return [str(row["id"]) for row in self.query(self._queries.open_ids, place)]

    def retryable(self, parent_id: str, after: str, *, force: bool) -> list[Row]:
        """Return a page of parts behind this id that ended badly (`force`: all that ended)."""
        place = {"parent": parent_id, "after": after, "limit": _STEP, "force": force}
        return self.query(self._queries.retryable_ids, place)

    def parts(self, parent_id: str, after: int, limit: int) -> list[Row]:
        """Return parts behind this position in order, with inputs and whether they are parents."""
        place = {"parent": parent_id, "after": after, "limit": limit}
        return self.query(self._queries.parts, place)

    def release_held(self, parent_id: str, count: int) -> list[str]:
        """Release `count` parts held by the window. Returns those that no limit holds."""
        place = {"parent": parent_id, "limit": count, "delay": self._grace.total_seconds()}
        released = self.query(self._queries.release_held, place)
        return [str(row["id"]) for row in released if row["held_by"] is None]

    def publications(self, ids: Sequence[str]) -> list[Publication]:
        """Return the publications of these rows."""
        found = self.query(self._queries.publications, {"ids": json.dumps(list(ids))})
        return [rows.PUBLICATION.read(row) for row in found]

    def reason(self, reason: str) -> str:
        """Return the detail of an event, with the actor of this unit."""
        return spelled_reason(reason, self.by)

    @property
    def grace_seconds(self) -> float:
        """The seconds in which the relay skips rows that this process will publish."""
        return self._grace.total_seconds()

    def query(self, sql: str, parameters: dict[str, Any]) -> list[Row]:
        """Run one statement. Returns its rows."""
        return self.dialect.query(self._session, sql, {**self._constants, **parameters})

    def _move(self, statement: MoveStatement, written: dict[str, Any]) -> list[Moved]:
        return self.dialect.move(self._session, statement, {**self._constants, **written})


def counts_of(found: Sequence[Row]) -> Counts:
    """Return the counts of parts by status, from the rows of the query."""
    return Counts(
        {TaskStatus(row["status"]): int(row["number"]) for row in found},
        sum(int(row["held"]) for row in found),
    )


def stored_error(error: TaskError) -> str:
    """Return an error as its column stores it."""
    return encode(error.as_json(), "error", deepest=None)


def _sub_task(row: Row) -> SubTask:
    return SubTask(
        id=str(row["id"]),
        status=TaskStatus(row["status"]),
        position=row["position"],
        name=row["name"],
        result=as_json(row["result"]),
        result_ref=row["result_ref"],
        error=as_json(row["error"]),
    )
