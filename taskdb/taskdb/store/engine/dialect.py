"""What a database must do for the store: spell a few things, and carry out a move.

`postgresql.py` and `sqlite.py` beside this module implement it.
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
"""What an insert says of each new row."""

OWNED = "NOT old.is_adopted"
"""Part of every move's guard: what is only watched moves by what is seen of it."""
CHECKED_TOGETHER = (
    ("attempt", "spared"),
    ("status", "waits_for"),
    ("tenant", "mutex_key"),
    ("tenant", "type", "unique_key"),
)
"""Columns that a CHECK compares with each other; one that has several partners stands last."""


@dataclass(frozen=True, slots=True, eq=False)
class MoveStatement:
    """One guarded move: which rows, under which condition, to what, and what it answers.

    All fragments are SQL over the row alias `old`. `assignments` pairs columns with fragments,
    `status` among them. `answer` names columns that are wanted of the row as it was before, also
    when the guard refused. `durable` is whether the commit waits for the disk. A move of `many`
    rows takes them in order of their ids, so that two of them never wait for each other;
    `skip_locked` leaves rows to whoever has them. `given` are the columns of what is handed over
    for each row in the parameter `given`, a JSON array of objects with their `id`; assignments
    name them `draft.column`. A move of one row that `is_likely` hardly ever finds it otherwise than
    its guard wants, so it may be tried without reading the row first. A move that is
    `planned_each_time` has a plan that depends on its parameters, so no prepared one is used.
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
    """What became of one selected row: `after` is None when the guard refused it."""

    id: str
    before: Row
    after: str | None


def whole(assignments: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The assignments, with every column that a CHECK compares with one of them.

    PostgreSQL checks a new row before it sees that another transaction has changed the row since
    the statement began. What is not assigned is then still that of the older row.
    """
    found = dict(assignments)
    for together in CHECKED_TOGETHER:
        if not found.keys().isdisjoint(together):
            found = {**{name: f"old.{name}" for name in together}, **found}
    return tuple(found.items())


class StoreDialect(Protocol):
    """The differences between the databases, and nothing else."""

    name: str
    now: str
    never: str
    """A moment that does not come: what is held has it for its time to be published."""
    exclusive: str
    """Asks to be the only transaction that has asked (`has_it`), and is watched as `watch` says;
    empty where only one writes."""
    lazily: str
    """What a list of answers may end with, so that its commit does not wait for the disk."""

    watch: str
    """Lets the server end this transaction when it idles `milliseconds` long; may be empty."""
    interpreted: str
    """Keeps the server from compiling what this transaction runs; empty where none does."""

    def __hash__(self) -> int:
        """Statements are kept by the dialect that they are written in."""

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
        """What a FROM item ends with that is to be joined by one probe of an index a row.

        The columns stand under the alias; NULL where there is no such row.
        """

    def told(self, columns: str) -> str:
        """Columns of `task`, with commas between, as every driver and every setting reads them."""

    def member(self, column: str, *path: str) -> str:
        """The text of a member inside a JSON column; NULL where there is none, or no JSON."""

    def number_in(self, column: str, *path: str) -> str:
        """The number inside a JSON column; NULL where there is none, or no JSON."""

    def lists(self, column: str, value: str) -> str:
        """Whether a JSON array of texts has this text."""

    def joined(self, column: str) -> str:
        """An aggregate: the different texts of a column, with commas between."""

    def merged(self, column: str, patch: str) -> str:
        """A JSON object with the members of another laid over it."""

    def made(self, name: str, value: str) -> str:
        """A JSON object of one member."""

    def listed_ids(self, parameter: str) -> str:
        """A subquery over the ids of a parameter that carries a JSON array of them."""

    def drafts(self, parameter: str, columns: Columns) -> str:
        """A FROM item `draft` over a parameter that carries a JSON array of objects."""

    def spell(self, moment: datetime) -> str:
        """A moment inside JSON, exactly as a column compares it."""

    def locking(self, how: str) -> str:
        """A locking clause, where the database locks rows and not itself."""

    def insert(
        self, session: Session, sql: str, parameters: Parameters, *, answers: bool = True
    ) -> list[Row]:
        """Carry out an INSERT into `task` with its history; answer the rows that are new.

        Without `answers`, none.
        """

    def create_engine(self, url: str, pool_size: int) -> Engine:
        """An engine for moves: each commits by itself."""

    def close(self, engine: Engine) -> None:
        """Close the connections of an engine."""

    def renew(self, engine: Engine, *, without_prepared: bool) -> None:
        """Lend no connection of an engine again: their server is not the right one any more.

        `without_prepared`: what is opened from now on prepares no statements.
        """

    def forget(self, engine: Engine) -> None:
        """Leave the connections of an engine to the process that this one was forked from."""

    def transaction(self, engine: Engine) -> Engine:
        """The same pool, for what needs several statements in one transaction."""

    def reading(self, engine: Engine) -> Engine:
        """The same pool, for what reads only."""

    def session(self, engine: Engine, *, writes: bool) -> AbstractContextManager[Session]:
        """A connection of the pool for one move or one statement, committed on leaving."""

    def is_unfinished(self, connection: Any) -> bool:
        """Whether a driver's connection is useless: a statement was cut short, or the line.

        A soft time limit raises anywhere, also while the answer to a statement is awaited.
        """

    def move(
        self, session: Session, statement: MoveStatement, parameters: Parameters
    ) -> list[Moved]:
        """Carry out a move with its history, whole or not at all."""

    def query(self, session: Session, sql: str, parameters: Parameters) -> list[Row]:
        """Run one statement and answer its rows."""
