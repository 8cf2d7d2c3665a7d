"""The contract of a database: it spells SQL fragments and carries out moves.

`postgresql/postgresql.py` and `sqlite/sqlite.py` implement it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from sqlalchemy import Engine

from taskdb.store.engine.session import Parameters, Row, Session

Columns = Mapping[str, Literal["id", "text", "integer", "number", "moment"]]

CREATED_ANSWER = "id, tenant, status, run_at, relay_at, created_at, held_by"
"""The columns that an insert returns of each new row."""

OWNED = "NOT old.is_adopted"
"""Part of the guard of every move: an adopted task moves only by observation."""
CHECKED_TOGETHER = (
    ("attempt", "spared"),
    ("status", "waits_for"),
    ("tenant", "mutex_key"),
    ("tenant", "type", "unique_key"),
)
"""Groups of columns that one CHECK compares. A group with several partners comes last."""


@dataclass(frozen=True, slots=True, eq=False)
class MoveStatement:
    """One guarded move: the rows, the condition, the new values and the returned columns.

    All fragments are SQL over the row alias `old`. `assignments` pairs columns with fragments and
    includes `status`. `answer` names columns to return with their values before the move, also
    when the guard refused. With `durable` the commit waits for the disk. A move of `many` rows
    locks them in order of their ids, so that two such moves never deadlock. `skip_locked` leaves
    out rows that another transaction has locked. `given` types the columns of the parameter
    `given`, a JSON array of one object a row with its `id`; assignments name them `draft.column`.
    `is_likely`: the guard of this move of one row hardly ever refuses, so the dialect may try it
    without reading the row first. `planned_each_time`: the best plan depends on the parameters, so
    no prepared plan is used.
    """

    name: str
    selection: str
    guard: str
    assignments: tuple[tuple[str, str], ...]
    answer: tuple[str, ...] = ()
    durable: bool = True
    many: bool = False
    skip_locked: bool = False
    given: Columns | None = None
    is_likely: bool = False
    planned_each_time: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """The result for one selected row; `after` is None when the guard refused it."""

    id: str
    before: Row
    after: str | None


def whole(assignments: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Add to the assignments every column that a CHECK compares with one of them.

    PostgreSQL checks the new row before it notices that another transaction has changed the row
    since the statement began. Columns without an assignment still have their older values then.
    """
    found = dict(assignments)
    for together in CHECKED_TOGETHER:
        if not found.keys().isdisjoint(together):
            found = {**{name: f"old.{name}" for name in together}, **found}
    return tuple(found.items())


class StoreDialect(Protocol):
    """The differences between the databases."""

    name: str
    now: str
    never: str
    """A moment that never comes: the `relay_at` of a held task."""
    oldest_open: str
    """The xid of the oldest open transaction. Every event before it can be read."""
    exclusive: str
    """Tries to take the lock of the release (`has_it`), and watches the transaction like `watch`;
    empty where the database has one writer."""
    lazily: str
    """The end of a list of returned columns after which the commit does not wait for the disk."""

    watch: str
    """Makes the server end this transaction after `milliseconds` of idling; may be empty."""
    interpreted: str
    is_file: bool
    """Whether the database is a file of this machine, with one writer and without roles."""
    has_partitions: bool
    """Whether the history has a partition for each day."""
    """Keeps the server from compiling the statements of this transaction; may be empty."""

    def __hash__(self) -> int:
        """Hash the dialect: it is the key of its written statements."""

    def json(self, parameter: str) -> str:
        """A parameter that carries JSON text."""

    def as_json(self, fragment: str) -> str:
        """A fragment that is JSON text, as a value of a JSON column."""

    def text(self, parameter: str) -> str:
        """A parameter that carries text, typed where the database cannot infer it."""

    def integer(self, parameter: str) -> str:
        """A parameter that carries a whole number."""

    def number(self, parameter: str) -> str:
        """A parameter that carries a number."""

    def truth(self, parameter: str) -> str:
        """A parameter that carries true or false."""

    def moment(self, parameter: str) -> str:
        """A parameter that carries a moment."""

    def later(self, seconds: str) -> str:
        """Now plus a number of seconds, an SQL fragment."""

    def elapsed(self, since: str, until: str) -> str:
        """The seconds from one moment to another, SQL fragments."""

    def latest(self, *moments: str) -> str:
        """The latest of some moments, SQL fragments of which none is NULL."""

    def looked_up(self, table: str, columns: str, condition: str, alias: str = "found") -> str:
        """The end of a FROM item that joins a table by one index probe a row.

        The columns have the alias; they are NULL where no row matches.
        """

    def spelled(self, columns: str) -> str:
        """Columns of `task`, joined by `, `, spelled for any driver and any setting."""

    def text_in(self, column: str, *path: str) -> str:
        """The text at a path of a JSON column; NULL where there is none, or no JSON."""

    def number_in(self, column: str, *path: str) -> str:
        """The number at a path of a JSON column; NULL where there is none, or no JSON."""

    def lists(self, column: str, value: str) -> str:
        """Whether a JSON array of texts contains this text."""

    def contains(self, column: str, parameter: str) -> str:
        """Whether a JSON column has every item of a parameter that carries JSON text."""

    def has_order(self, column: str) -> str:
        """Whether the database itself has set the xid of an event.

        An xid that was written by hand may be higher than all later ones. A cursor that passed it
        would miss every later event.
        """

    def is_settled(self, column: str) -> str:
        """Whether no open transaction can add an event before the one with this xid."""

    def joined(self, column: str) -> str:
        """An aggregate: the distinct texts of a column, joined by commas."""

    def merged(self, column: str, patch: str) -> str:
        """A JSON object, updated with the keys of another one."""

    def made(self, name: str, value: str) -> str:
        """A JSON object of one key."""

    def listed_ids(self, parameter: str) -> str:
        """A subquery over the ids of a parameter that carries a JSON array of them."""

    def drafts(self, parameter: str, columns: Columns) -> str:
        """A FROM item `draft` over a parameter that carries a JSON array of objects."""

    def spell(self, moment: datetime) -> str:
        """The spelling of a moment inside JSON; it compares like a column."""

    def locking(self, how: str) -> str:
        """A locking clause; empty where the database locks itself and not its rows."""

    def insert(
        self, session: Session, sql: str, parameters: Parameters, *, answers: bool = True
    ) -> list[Row]:
        """Carry out an INSERT into `task` with its history. Returns the new rows.

        Returns none without `answers`.
        """

    def create_engine(self, url: str, pool_size: int) -> Engine:
        """Create an engine for moves; each move commits by itself."""

    def close(self, engine: Engine) -> None:
        """Close the connections of an engine."""

    def renew(self, engine: Engine, *, without_prepared: bool) -> None:
        """Stop lending the open connections of an engine: their server is not the right one.

        `without_prepared`: connections opened from now on prepare no statements.
        """

    def forget(self, engine: Engine) -> None:
        """Leave the connections of an engine to the parent process; close none."""

    def transaction(self, engine: Engine) -> Engine:
        """The same pool, for transactions of several statements."""

    def reading(self, engine: Engine) -> Engine:
        """The same pool, for transactions that only read."""

    def session(self, engine: Engine, *, writes: bool) -> AbstractContextManager[Session]:
        """Lend a connection for one move or one statement, and commit on leaving."""

    def is_unfinished(self, connection: Any) -> bool:
        """Whether a driver's connection is lost, or still has an unfinished statement.

        A soft time limit may raise anywhere, also while the driver waits for a result.
        """

    def move(
        self, session: Session, statement: MoveStatement, parameters: Parameters
    ) -> list[Moved]:
        """Carry out a move together with its history, both or neither."""

    def query(self, session: Session, sql: str, parameters: Parameters) -> list[Row]:
        """Run one statement and return its rows."""
