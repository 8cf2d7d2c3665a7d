"""SQLite: a move is one short transaction that holds the write lock from its start.

SQLite has no data-modifying CTE, so reading the row, the guarded update and the history are three
statements; BEGIN IMMEDIATE makes them atomic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import QueuePool

from taskdb.private_path import make_file, make_folder
from taskdb.store.engine.dialect import CREATED_ANSWER, OWNED, Columns, Moved, MoveStatement
from taskdb.store.engine.renewal import Renewal
from taskdb.store.engine.session import DriverSession, Parameters, Row, Session
from taskdb.store.engine.sqlite.memory_engine import is_in_memory, memory_engine
from taskdb.store.engine.sqlite.shared_cache import SharedConnection, is_shared
from taskdb.store.engine.types import moment_text

_STYLE = ":%s"
_FORMAT = "'%Y-%m-%dT%H:%M:%fZ'"
_BUSY_SECONDS = 30.0
_BEGIN = "taskdb_begin"
_LOG_BYTES_KEPT = 16 * 1024 * 1024
"""The most bytes of the write-ahead log that stay on disk after a checkpoint."""

MoveSQL = tuple[str, str, str]


class SQLite:
    """The dialect of SQLite 3.35 and newer, in WAL mode, in a file."""

    name = "sqlite"
    is_file = True
    has_partitions = False
    never = "'9999-01-01T00:00:00.000Z'"
    # One writer at a time: all that a reader sees is in order.
    oldest_open = str(2**63 - 1)
    exclusive = ""
    lazily = ""
    watch = ""
    interpreted = ""

    def __init__(self, *, bound_clock: bool = False) -> None:
        self._moment = ":clock_now" if bound_clock else "'now'"
        self.now = f"strftime({_FORMAT}, {self._moment})"
        self._moves: dict[MoveStatement, MoveSQL] = {}
        self._renewals: WeakKeyDictionary[Engine, Renewal] = WeakKeyDictionary()

    def json(self, parameter: str) -> str:
        return f":{parameter}"

    def as_json(self, fragment: str) -> str:
        return fragment

    def text(self, parameter: str) -> str:
        return f":{parameter}"

    def integer(self, parameter: str) -> str:
        return f":{parameter}"

    def number(self, parameter: str) -> str:
        return f":{parameter}"

    def truth(self, parameter: str) -> str:
        return f":{parameter}"

    def moment(self, parameter: str) -> str:
        return f":{parameter}"

    def later(self, seconds: str) -> str:
        return f"strftime({_FORMAT}, {self._moment}, ({seconds}) || ' seconds')"

    def elapsed(self, since: str, until: str) -> str:
        return f"((julianday({until}) - julianday({since})) * 86400)"

    def latest(self, *moments: str) -> str:
        return f"max({', '.join(moments)})"

    def looked_up(
        self,
        table: str,
        columns: str,  # noqa: ARG002 - a plain join needs no list
        condition: str,
        alias: str = "found",
    ) -> str:
        return f" LEFT JOIN {table} AS {alias} ON {condition}"

    def spelled(self, columns: str) -> str:
        return columns

    def text_in(self, column: str, *path: str) -> str:
        # Text that is not JSON would fail the whole statement.
        value = f"json_extract({column}, '$.{'.'.join(path)}')"
        return f"CASE WHEN json_valid({column}) THEN {value} END"

    def number_in(self, column: str, *path: str) -> str:
        place = f"{column}, '$.{'.'.join(path)}'"
        number = (
            f"CASE WHEN json_type({place}) IN ('integer', 'real') THEN json_extract({place}) END"
        )
        return f"CASE WHEN json_valid({column}) THEN {number} END"

    def lists(self, column: str, value: str) -> str:
        # Text that is not JSON would fail the whole statement.
        listed = f"CASE WHEN json_valid({column}) THEN {column} ELSE '[]' END"
        return f"EXISTS (SELECT 1 FROM json_each({listed}) WHERE value = {value})"

    def contains(self, column: str, parameter: str) -> str:
        # For the items of an array or an object. Values nested in them must be equal as text.
        return (
            f"NOT EXISTS (SELECT 1 FROM json_each(:{parameter}) AS wanted WHERE NOT EXISTS"
            f" (SELECT 1 FROM json_each({column}) AS member"
            " WHERE member.value IS wanted.value AND (typeof(wanted.key) = 'integer'"
            " OR member.key = wanted.key) AND (member.type = wanted.type OR 'real'"
            " IN (member.type, wanted.type))))"
        )

    def has_order(self, column: str) -> str:
        return f"{column} = 0"

    def is_settled(self, column: str) -> str:
        return f"{column} = 0"

    def joined(self, column: str) -> str:
        return f"group_concat(DISTINCT {column})"

    def merged(self, column: str, patch: str) -> str:
        return f"json_patch({column}, {patch})"

    def made(self, name: str, value: str) -> str:
        return f"json_object('{name}', {value})"

    def listed_ids(self, parameter: str) -> str:
        return f"(SELECT value FROM json_each(:{parameter}))"

    def drafts(self, parameter: str, columns: Columns) -> str:
        fields = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
        return f"(SELECT {fields} FROM json_each(:{parameter})) AS draft"

    def spell(self, moment: datetime) -> str:
        return moment_text(moment)

    def locking(self, how: str) -> str:  # noqa: ARG002 - a writer locks the whole database
        return ""

    def insert(
        self, session: Session, sql: str, parameters: Parameters, *, answers: bool = True
    ) -> list[Row]:
        new = self.query(session, f"{sql} RETURNING {CREATED_ANSWER}", parameters)
        history = (
            "INSERT INTO taskdb_event (task_id, tenant, to_status, at)"
            " SELECT id, tenant, status, created_at FROM taskdb_task WHERE id"
            f" IN {self.listed_ids('ids')}"
        )
        session.run(history, {"ids": json.dumps([row["id"] for row in new])})
        return new if answers else []

    def close(self, engine: Engine) -> None:
        engine.dispose()

    def renew(self, engine: Engine, *, without_prepared: bool) -> None:  # noqa: ARG002 - the library runs in here
        self._renewals[engine].renew()

    def forget(self, engine: Engine) -> None:
        engine.dispose(close=False)

    def create_engine(self, url: str, pool_size: int) -> Engine:
        engine = _memory_or_file(url, pool_size)
        event.listen(engine, "do_connect", _make_private)
        event.listen(engine, "connect", _prepare)
        self._renewals[engine] = Renewal(engine)
        if is_shared(make_url(url)):
            event.listen(engine, "connect", _read_uncommitted)
        event.listen(engine, "begin", _begin)
        return engine

    def transaction(self, engine: Engine) -> Engine:
        return engine

    def reading(self, engine: Engine) -> Engine:
        """The same pool, for transactions that only read and need no write lock."""
        return engine.execution_options(**{_BEGIN: "DEFERRED"})

    @contextmanager
    def session(self, engine: Engine, *, writes: bool) -> Iterator[Session]:
        pooled = engine.raw_connection()
        connection: Any = pooled.driver_connection
        try:
            connection.execute(f"BEGIN {'IMMEDIATE' if writes else 'DEFERRED'}")
            with closing(connection.cursor()) as cursor:
                yield DriverSession(cursor, _STYLE)
            connection.execute("COMMIT")
        finally:
            try:
                if connection.in_transaction:
                    connection.rollback()
            finally:
                pooled.close()

    def is_unfinished(self, connection: Any) -> bool:  # noqa: ARG002 - the library runs in here
        return False

    def move(
        self, session: Session, statement: MoveStatement, parameters: Parameters
    ) -> list[Moved]:
        select, update, history = self.move_sql(statement)
        bound = _bindable(parameters)
        before = {row["id"]: row for row in session.run(select, bound)}
        if not before:
            return []
        selected = {**bound, "selected": json.dumps(list(before))}
        after = {row["id"]: row for row in session.run(update, selected)}
        for key, row in after.items():
            said = {"from_status": before[key]["status"], "was_by": before[key]["worker"]}
            session.run(history, {**bound, **row, **said})
        return [
            Moved(key, row, after[key]["to_status"] if key in after else None)
            for key, row in before.items()
        ]

    def query(self, session: Session, sql: str, parameters: Parameters) -> list[Row]:
        return session.run(sql, _bindable(parameters))

    def move_sql(self, statement: MoveStatement) -> MoveSQL:
        """The three statements of a move, written once."""
        sql = self._moves.get(statement)
        if sql is None:
            given = None if statement.given is None else self.drafts("given", statement.given)
            sql = self._moves[statement] = _move_sql(statement, self.now, given)
        return sql


def _move_sql(statement: MoveStatement, now: str, given: str | None) -> MoveSQL:
    wanted = dict.fromkeys(("id", "status", "worker", *statement.answer))
    columns = ", ".join(f"old.{name}" for name in wanted)
    assignments = (*statement.assignments, ("updated_at", now))
    sets = ", ".join(f"{column} = {value}" for column, value in assignments)
    source = "" if given is None else f" FROM {given}"
    own = "" if given is None else " AND draft.id = old.id"
    return (
        f"SELECT {columns} FROM taskdb_task AS old WHERE {statement.selection}",
        # Without the selection: its conditions on the clock may have changed since.
        (
            f"UPDATE taskdb_task AS old SET {sets}{source} WHERE old.id IN"
            f" (SELECT value FROM json_each(:selected)){own} AND ({statement.guard}) AND {OWNED}"
            " RETURNING id, tenant, status AS to_status, attempt, worker"
        ),
        (
            "INSERT INTO taskdb_event"
            " (task_id, tenant, from_status, to_status, attempt, worker, at, detail)"
            " VALUES (:id, :tenant, :from_status, :to_status, :attempt,"
            f" COALESCE(:worker, :was_by), {now}, :detail)"
        ),
    )


def _bindable(parameters: Parameters) -> dict[str, Any]:
    return {
        name: moment_text(value) if isinstance(value, datetime) else value
        for name, value in parameters.items()
    }


def _memory_or_file(url: str, pool_size: int) -> Engine:
    place = make_url(url)
    if is_in_memory(place):
        return memory_engine(place, pool_size)
    path = place.database or ""
    if not path.startswith("file:"):
        make_folder(Path(path).parent)
    options: dict[str, Any] = {"check_same_thread": False}
    if "timeout" not in place.query:
        options["timeout"] = _BUSY_SECONDS
    if is_shared(place):
        options["factory"] = SharedConnection
    return create_engine(
        url,
        # Also for shared memory, where SQLAlchemy would choose another pool.
        poolclass=QueuePool,
        pool_size=pool_size,
        hide_parameters=True,
        connect_args=options,
    )


def _make_private(
    _dialect: Any, _record: Any, arguments: list[Any], _options: dict[str, Any]
) -> None:
    path = str(arguments[0]) if arguments else ":memory:"
    if path not in {"", ":memory:"} and not path.startswith("file:"):
        make_file(Path(path))


def _prepare(connection: Any, _record: Any) -> None:
    # The driver would begin its transactions too late, at the first write.
    connection.isolation_level = None
    # Only an empty file accepts it. On another file the statement would wait for writers.
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES_KEPT}").fetchall()


def _read_uncommitted(connection: Any, _record: Any) -> None:
    # In a test suite's shared memory, a transaction that never commits would lock out all readers.
    connection.execute("PRAGMA read_uncommitted = ON")


def _begin(connection: Connection) -> None:
    kind = connection.get_execution_options().get(_BEGIN, "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {kind}")
