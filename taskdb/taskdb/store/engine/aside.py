"""Rows set aside: a row that fails stops no batch, is counted, and is tried again later.

A loop works on a batch as a whole. If a row makes the batch fail, the loop splits the batch until
the row is alone. The table gets the key and the reason, and the loop leaves the row out until its
next try is due. A batch without a failure costs nothing extra. The pauses between tries double, up
to an hour. A row whose next try succeeds is forgotten.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import RowMapping
from sqlalchemy.exc import TimeoutError as PoolTimeout

from taskdb.errors import BrokerUnreachable, DatabaseError, PayloadStoreUnreachable, TaskDBError
from taskdb.logger import get_logger
from taskdb.model.json_text import Unreadable, storable
from taskdb.store.engine import faults
from taskdb.store.engine.database import Database
from taskdb.store.engine.dialect import Moved, MoveStatement, StoreDialect
from taskdb.store.engine.faults import Kind
from taskdb.store.engine.session import Row
from taskdb.store.engine.types import moment

log = get_logger("taskdb.aside")

T = TypeVar("T")
R = TypeVar("R")

FIRST_SECONDS = 10.0
"""The pause before the second try."""
LONGEST_SECONDS = 3600.0
_DOUBLINGS = 8
_LOOK_SECONDS = 30.0
"""How often a process that set nothing aside checks for rows of other processes."""
_MARGIN_SECONDS = 1.0
_KEY_CHARACTERS = 400
_REASON_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that a loop leaves out until `next_try_at`, and why."""

    loop: str
    key: str
    reason: str
    tries: int
    first_at: datetime
    next_try_at: datetime


def is_of_a_row(error: BaseException) -> bool:
    """Whether an error may concern one row, and not something that all rows need."""
    if isinstance(error, BrokerUnreachable | PayloadStoreUnreachable | PoolTimeout):
        return False
    if not isinstance(error, Exception):
        return False
    if faults.is_of_a_function(error):
        return True
    if isinstance(error, DatabaseError):
        return False
    return faults.kind_of(error) in {None, Kind.VALUE, Kind.UNKNOWN}


def reason_of(error: BaseException) -> str:
    """An error on one line, without the parameters of statements that drivers may show."""
    origin = faults.origin_of(error)
    text = " ".join(str(origin).partition("\nDETAIL:")[0].split())
    return storable(f"{type(origin).__name__}: {text}", _REASON_CHARACTERS)


def readable(row: RowMapping | Row) -> RowMapping | Row:
    """Return the same row. Raises ValueError if a JSON value of it cannot be read."""
    faults = [
        f"{name} cannot be read: {value['unreadable']}"
        for name, value in row.items()
        if isinstance(value, Unreadable)
    ]
    if faults:
        raise ValueError("; ".join(faults))
    return row


def not_aside(d: StoreDialect, loop: str, column: str = "id") -> str:
    """SQL: a loop has not set this row aside, or its next try is due."""
    return (
        f"CAST({column} AS TEXT) NOT IN (SELECT a.key FROM taskdb_set_aside AS a"
        f" WHERE a.loop = '{loop}' AND a.next_try_at > (SELECT {d.now}))"
    )


@contextmanager
def unless_unreadable(row: RowMapping | Row, table: str, key: str) -> Iterator[None]:
    """Leave a row out of a list, and log it, if it was written by hand and cannot be read."""
    try:
        readable(row)
        yield
    except (ValueError, TypeError, OverflowError, TaskDBError) as error:
        log.warning("row.skipped", table=table, key=key, reason=reason_of(error))


class Aside:
    """Sets rows aside for the loops of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._narrow: dict[MoveStatement, MoveStatement] = {}
        self._known: set[str] = set()
        """Loops that have rows set aside, as far as this process knows."""
        self._looked: dict[str, float] = {}

    # --- work -----------------------------------------------------------------------------------

    def each(
        self,
        loop: str,
        items: Iterable[T],
        work: Callable[[T], R],
        *,
        key: Callable[[T], str] = str,
        unless: tuple[type[Exception], ...] = (),
    ) -> list[R]:
        """Do the work of each item by itself. Returns the results of items that did not fail.

        Raises errors that do not concern one row, and those that `unless` names.
        """
        done = []
        for item in items:
            try:
                done.append(work(item))
            except Exception as error:
                if not is_of_a_row(error) or isinstance(error, unless):
                    raise
                self.note(loop, key(item), error)
        return done

    def batch(
        self,
        loop: str,
        items: Sequence[T],
        work: Callable[[Sequence[T]], Iterable[R]],
        *,
        key: Callable[[T], str] = str,
        unless: tuple[type[Exception], ...] = (),
    ) -> list[R]:
        """Do the work of all items at once, and of halves of them after a failure."""
        done: list[R] = []
        left = [list(items)] if items else []
        while left:
            some = left.pop()
            try:
                done.extend(work(some))
            except Exception as error:
                if not is_of_a_row(error) or isinstance(error, unless):
                    raise
                if len(some) == 1:
                    self.note(loop, key(some[0]), error)
                    continue
                half = len(some) // 2
                left += [some[half:], some[:half]]
        return done

    def move(
        self, loop: str, statement: MoveStatement, parameters: Mapping[str, Any]
    ) -> list[Moved]:
        """Carry out a move of many rows; set aside rows for which it fails."""
        try:
            return self._database.move(statement, parameters)
        except Exception as error:
            if not is_of_a_row(error):
                raise
        sql = (
            f"SELECT CAST(old.id AS TEXT) AS id FROM taskdb_task AS old WHERE {statement.selection}"
        )
        found = self._database.query(f"{sql} ORDER BY old.id", parameters)
        narrow = self._narrowed(statement)

        def some(ids: Sequence[str]) -> list[Moved]:
            return self._database.move(narrow, {**parameters, "these": json.dumps(list(ids))})

        return self.batch(loop, [row["id"] for row in found], some)

    def _narrowed(self, statement: MoveStatement) -> MoveStatement:
        """The same move, limited to the ids of the parameter `these`."""
        found = self._narrow.get(statement)
        if found is None:
            these = self._database.dialect.listed_ids("these")
            selection = f"{statement.selection} AND old.id IN {these}"
            found = self._narrow[statement] = replace(statement, selection=selection)
        return found

    # --- rows set aside -------------------------------------------------------------------------

    def note(self, loop: str, key: str, error: BaseException) -> None:
        """Set a row aside, for longer after each further failure."""
        reason = reason_of(error)
        d = self._database.dialect
        grown = (
            f"CASE WHEN old.tries < {_DOUBLINGS}"
            f" THEN {FIRST_SECONDS} * (1 << old.tries) ELSE {LONGEST_SECONDS} END"
        )
        sql = (
            "INSERT INTO taskdb_set_aside AS old (loop, key, reason, tries, first_at, last_at,"
            f" next_try_at) VALUES (:loop, :key, :reason, 1, {d.now}, {d.now},"
            f" {d.later(str(FIRST_SECONDS))}) ON CONFLICT (loop, key) DO UPDATE"
            " SET reason = excluded.reason, tries = old.tries + 1, last_at = excluded.last_at,"
            f" next_try_at = {d.later(grown)} RETURNING tries"
        )
        given = {"loop": loop, "key": storable(key, _KEY_CHARACTERS), "reason": reason}
        (row,) = self._database.query(sql, given)
        self._known.add(loop)
        log.warning("row.set_aside", loop=loop, key=key, reason=reason, tries=row["tries"])

    def over(self, loop: str, took: float) -> None:
        """Forget rows whose next try was due before a complete pass of `took` seconds.

        A pass calls it after all due work; rows that failed again have a later next try.
        """
        if loop not in self._known and not self._look(loop):
            return
        d = self._database.dialect
        self._database.query(
            "DELETE FROM taskdb_set_aside WHERE loop = :loop"
            f" AND next_try_at <= {d.later('-:took')} RETURNING key",
            {"loop": loop, "took": took + _MARGIN_SECONDS},
        )
        if not self._has(loop):
            self._known.discard(loop)

    def due(self, loop: str, limit: int) -> list[str]:
        """Return the keys whose next try is due, for a loop that finds its rows by a cursor."""
        if loop not in self._known and not self._look(loop):
            return []
        d = self._database.dialect
        found = self._database.query(
            "SELECT key FROM taskdb_set_aside WHERE loop = :loop AND next_try_at <="
            f" (SELECT {d.now}) ORDER BY next_try_at LIMIT :limit",
            {"loop": loop, "limit": limit},
            writes=False,
        )
        return [row["key"] for row in found]

    def forget(self, loop: str, keys: Iterable[str]) -> None:
        """Forget rows that have succeeded or no longer exist."""
        for key in keys:
            self._database.query(
                "DELETE FROM taskdb_set_aside WHERE loop = :loop AND key = :key RETURNING key",
                {"loop": loop, "key": storable(key, _KEY_CHARACTERS)},
            )

    def try_now(self) -> None:
        """Make the next try of every row due now."""
        now = self._database.dialect.later("-3600.0")
        self._database.query(f"UPDATE taskdb_set_aside SET next_try_at = {now} RETURNING key", {})

    def listed(self, limit: int) -> list[SetAside]:
        """Return the rows set aside, oldest first."""
        found = self._database.query(
            "SELECT loop, key, reason, tries, first_at, next_try_at FROM taskdb_set_aside"
            " ORDER BY first_at, loop, key LIMIT :limit",
            {"limit": limit},
            writes=False,
        )
        return [
            SetAside(
                row["loop"],
                row["key"],
                row["reason"],
                row["tries"],
                moment(row["first_at"]),
                moment(row["next_try_at"]),
            )
            for row in found
        ]

    def _look(self, loop: str) -> bool:
        now = time.monotonic()
        if now - self._looked.get(loop, float("-inf")) < _LOOK_SECONDS:
            return False
        self._looked[loop] = now
        if self._has(loop):
            self._known.add(loop)
        return loop in self._known

    def _has(self, loop: str) -> bool:
        sql = "SELECT 1 AS one FROM taskdb_set_aside WHERE loop = :loop LIMIT 1"
        return bool(self._database.query(sql, {"loop": loop}, writes=False))
