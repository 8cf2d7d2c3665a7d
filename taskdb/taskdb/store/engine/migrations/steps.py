"""A connection that carries out a migration step by step, while other processes work.

Each statement is its own transaction: it waits for a lock for a fifth of a second, gives up, and
tries again. An index is built on each partition separately, without a lock that stops writers. An
UPDATE changes some thousand rows at a time. Finished steps are rows, so an interrupted migration
continues where it stopped.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Executable, TextClause
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import ExecutableDDLElement

from taskdb.logger import get_logger
from taskdb.store.engine import faults
from taskdb.store.engine.postgresql.partitions import LOCK_TIMEOUT

log = get_logger("taskdb.migrate")

T = TypeVar("T")

PAUSE_SECONDS = 1.0
"""The pause between two tries, in which others get the locks."""
PATIENCE_SECONDS = 600.0
"""A step that gets no locks for this time fails; the next `migrate` continues with it."""

BATCH_ROWS = 2_000
"""Rows that one transaction of an UPDATE reads, and may lock."""

_TABLE = "taskdb_migration_step"
_READS = re.compile(r"\s*(SELECT|SHOW|EXPLAIN)\b", re.IGNORECASE)
_CREATE_INDEX = re.compile(
    r"\s*CREATE\s+(?P<unique>UNIQUE\s+)?INDEX\s+(?!CONCURRENTLY\b)(?:IF\s+NOT\s+EXISTS\s+)?"
    r"(?P<name>\w+)\s+ON\s+(?P<table>\w+)(?P<rest>\b.*)",
    re.IGNORECASE | re.DOTALL,
)
_DROP_INDEX = re.compile(
    r"\s*DROP\s+INDEX\s+(?!CONCURRENTLY\b)(?:IF\s+EXISTS\s+)?(?P<name>\w+)\s*", re.IGNORECASE
)
_UPDATE = re.compile(
    r"\s*UPDATE\s+(?P<table>\w+)\s+SET\s+(?P<set>.+?)(?:\s+WHERE\s+(?P<where>.+))?",
    re.IGNORECASE | re.DOTALL,
)


class SteppedConnection(Connection):
    """The connection for Alembic; the engine's connections must be in autocommit."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._revision = ""

    def begin_steps(self, revision: str) -> None:
        """Begin a migration: the next statements are its steps."""
        self._revision = revision
        self._run(
            f"CREATE TABLE IF NOT EXISTS {_TABLE} (revision TEXT NOT NULL,"
            " statement TEXT NOT NULL, PRIMARY KEY (revision, statement))"
        )

    def end_steps(self, head: str) -> None:
        """End the last migration: forget its steps, except those of a newer release."""
        if self._kind(_TABLE) is None:
            return
        self._run(f"DELETE FROM {_TABLE} WHERE revision <= '{head}'")
        if super().exec_driver_sql(f"SELECT 1 FROM {_TABLE} LIMIT 1").first() is None:
            self._run(f"DROP TABLE {_TABLE}")

    def exec_driver_sql(
        self, statement: str, parameters: Any = None, execution_options: Any = None
    ) -> CursorResult[Any]:
        """Carry out a step, or a statement that only reads."""
        if parameters is not None or _READS.match(statement):
            return super().exec_driver_sql(statement, parameters, execution_options)
        self._step(statement)
        return super().exec_driver_sql("SELECT 1")

    def execute(self, statement: Executable, *given: Any, **options: Any) -> Any:
        """Carry out a step that Alembic composes. Its writes of versions are not steps."""
        if isinstance(statement, TextClause) and not any(given):
            return self.exec_driver_sql(statement.text.replace("\\:", ":"))
        if isinstance(statement, ExecutableDDLElement):
            return self.exec_driver_sql(str(statement.compile(dialect=self.dialect)))
        return super().execute(statement, *given, **options)

    # --- steps --------------------------------------------------------------------------------

    def _step(self, statement: str) -> None:
        if self._answer(
            f"SELECT 1 FROM {_TABLE} WHERE revision = %s AND statement = %s", statement
        ):
            return
        created, dropped = _CREATE_INDEX.match(statement), _DROP_INDEX.fullmatch(statement)
        updated = _UPDATE.fullmatch(statement)
        if created is not None and self._kind(created["table"]):
            self._build(created)
            self._patiently(lambda: self._mark(statement))
        elif dropped is not None and self._kind(dropped["name"]) in {"i", None}:
            # An interrupted run may have dropped the index without marking the step.
            name = dropped["name"]
            self._patiently(lambda: self._run(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
            self._patiently(lambda: self._mark(statement))
        elif updated is not None and (key := self._primary_key(updated["table"])):
            self._update(updated, key)
            self._patiently(lambda: self._mark(statement))
        else:
            self._patiently(lambda: self._in_transaction(statement, statement))

    def _build(self, index: re.Match[str]) -> None:
        """Build an index without blocking writers."""
        unique, name, table, rest = index["unique"] or "", *index.group("name", "table", "rest")
        if self._kind(table) != "p":
            self._build_one(unique, name, table, rest)
            return
        if not self._kind(name):
            only = f"CREATE {unique}INDEX {name} ON ONLY {table}{rest}"
            self._patiently(lambda: self._in_transaction(only))
        # Partitions created meanwhile have the index.
        for partition in self._partitions_without(table, name):
            own = f"{partition}_{name}"[:63]
            self._build_one(unique, own, partition, rest)
            self._patiently(
                partial(self._in_transaction, f"ALTER INDEX {name} ATTACH PARTITION {own}")
            )

    def _build_one(self, unique: str, name: str, table: str, rest: str) -> None:
        self._patiently(lambda: self._try_to_build(unique, name, table, rest))

    def _try_to_build(self, unique: str, name: str, table: str, rest: str) -> None:
        if self._kind(name):
            if self._answer(
                "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid",
                name,
                of_revision=False,
            ):
                return
            # An interrupted build left an invalid index.
            self._run(f"DROP INDEX CONCURRENTLY {name}")
        # This waits for open transactions, but no transaction waits for it.
        self._run(f"CREATE {unique}INDEX CONCURRENTLY {name} ON {table}{rest}")

    def _update(self, update: re.Match[str], key: str) -> None:
        """Update the rows in the order of the primary key.

        A row that other processes move meanwhile keeps its place in that order.
        """
        table, assignments, condition = update.group("table", "set", "where")
        last: tuple[Any, ...] | None = None
        while True:
            places = ", ".join(["%s"] * len(last or ()))
            behind = f" WHERE ({key}) > ({places})" if last else ""
            statement = (
                f"WITH page AS MATERIALIZED (SELECT {key} FROM {table}{behind} ORDER BY {key}"
                f" LIMIT {BATCH_ROWS}), updated AS (UPDATE {table} SET {assignments}"
                f" WHERE ({key}) IN (SELECT {key} FROM page) AND ({condition or 'true'}))"
                f" SELECT {key} FROM page ORDER BY ({key}) DESC LIMIT 1"
            )
            last = self._patiently(partial(self._page, statement, last))
            if last is None:
                return

    def _page(self, statement: str, last: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        driver: Any = self.connection.driver_connection
        with driver.transaction():
            self._run(LOCK_TIMEOUT)
            found = super().exec_driver_sql(statement, last).first()
        return None if found is None else tuple(found)

    def _primary_key(self, table: str) -> str:
        """Return the key columns, joined by commas; empty if there is no table or no key."""
        found = super().exec_driver_sql(
            "SELECT string_agg(quote_ident(attname), ', '"
            " ORDER BY array_position(indkey::int2[], attnum)) FROM pg_index"
            " JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)"
            " WHERE indrelid = to_regclass(%s) AND indisprimary",
            (table,),
        )
        return str(found.scalar() or "")

    def _partitions_without(self, table: str, index: str) -> list[str]:
        found = super().exec_driver_sql(
            "SELECT inhrelid::regclass::text FROM pg_inherits AS one"
            " WHERE inhparent = to_regclass(%s) AND NOT EXISTS (SELECT 1 FROM pg_index"
            " JOIN pg_inherits AS attached ON attached.inhrelid = indexrelid"
            " WHERE indrelid = one.inhrelid AND attached.inhparent = to_regclass(%s))",
            (table, index),
        )
        return [str(name) for (name,) in found]

    def _kind(self, name: str) -> str | None:
        """Return PostgreSQL's letter for the kind of a relation; None if there is none."""
        found = (
            super()
            .exec_driver_sql("SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)", (name,))
            .scalar()
        )
        return found.decode() if isinstance(found, bytes) else found

    # --- statements ---------------------------------------------------------------------------

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do the work; repeat it while another transaction holds a lock that it needs."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        is_logged = False
        while True:
            try:
                return work()
            except DBAPIError as error:
                if not faults.is_lock_conflict(error) or time.monotonic() >= deadline:
                    raise
            if not is_logged:
                log.info("migration.delayed", revision=self._revision)
                is_logged = True
            time.sleep(PAUSE_SECONDS)

    def _in_transaction(self, statement: str, marked: str | None = None) -> None:
        driver: Any = self.connection.driver_connection
        with driver.transaction():
            self._run(LOCK_TIMEOUT)
            self._run(statement)
            if marked is not None:
                self._mark(marked)

    def _mark(self, statement: str) -> None:
        super().exec_driver_sql(
            f"INSERT INTO {_TABLE} (revision, statement) VALUES (%s, %s)",
            (self._revision, statement),
        )

    def _run(self, statement: str) -> None:
        super().exec_driver_sql(statement)

    def _answer(self, sql: str, value: str, *, of_revision: bool = True) -> bool:
        given = (self._revision, value) if of_revision else (value,)
        return super().exec_driver_sql(sql, given).first() is not None
