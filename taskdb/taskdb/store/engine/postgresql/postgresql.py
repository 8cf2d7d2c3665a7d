"""PostgreSQL: a move and its history are one statement, so one round trip."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url

from taskdb.logger import get_logger
from taskdb.store.engine.dialect import CREATED_ANSWER, OWNED, Columns, Moved, MoveStatement, whole
from taskdb.store.engine.event_order import NO_XID, OLDEST_OPEN
from taskdb.store.engine.faults import require_driver
from taskdb.store.engine.postgresql.any_moment import read_any_moment
from taskdb.store.engine.postgresql.before_image import tells_before
from taskdb.store.engine.postgresql.kept_connection import KeptConnection
from taskdb.store.engine.postgresql.session_options import BEGINS, pin
from taskdb.store.engine.renewal import Renewal
from taskdb.store.engine.session import DriverSession, Parameters, Row, Session
from taskdb.store.engine.task_table import ID_COLUMNS, JSON_COLUMNS, MOMENT_COLUMNS
from taskdb.store.engine.types import as_number, spelled

log = get_logger("taskdb.database")

_STYLE = "%%(%s)s"
_UNFINISHED = frozenset({1, 4})
"""The transaction status of a connection with a running statement, and of a lost one."""
_OLD_COLUMN = re.compile(r"\bold\.([a-z_]+)")
_TYPES = {
    "id": "UUID",
    "text": "TEXT",
    "integer": "BIGINT",
    "number": "DOUBLE PRECISION",
    "moment": "TIMESTAMPTZ",
}
_PREPARE = "prepare_threshold"
"""In the query of a URL: `none` for a pooler without support of prepared statements."""
_PREPARED_ADVICE = (
    "a pooler loses prepared statements, so this process does without them, at half the speed: "
    "end TASKDB_DATABASE_URL with ?prepare_threshold=none, or take a pooler that knows them"
)
_CURSOR = "taskdb.cursor"
_EVENT_COLUMNS = ("id", "status", "worker")
_CONNECTION = {
    "connect_timeout": 5,
    "application_name": "taskdb",
    # Also for a database without an encoding, so that `taskdb migrate` can report it.
    "client_encoding": "UTF8",
    # The client notices a silently lost connection within half a minute.
    "tcp_user_timeout": 20_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class PostgreSQL:
    """The dialect of PostgreSQL 13 and newer, through psycopg 3."""

    name = "postgresql"
    is_file = False
    has_partitions = True
    never = "TIMESTAMPTZ '9999-01-01 00:00:00Z'"
    # If the server dies, its last commits may be lost: released tasks are held again. The
    # transaction reads only the first rows of wait queues, by index. The planner, with old
    # statistics of empty queues, would sort and hash whole queues.
    oldest_open = OLDEST_OPEN
    exclusive = (
        "SELECT pg_try_advisory_xact_lock(7303014, 1) AS has_it,"
        " set_config('synchronous_commit', 'off', true),"
        " set_config('idle_in_transaction_session_timeout', :milliseconds, true)"
        + "".join(
            f", set_config('enable_{way}', 'off', true)"
            for way in ("seqscan", "bitmapscan", "sort", "hashjoin", "mergejoin")
        )
    )
    # Set by a function for this transaction only: poolers refuse connection options.
    watch = "SELECT set_config('idle_in_transaction_session_timeout', :milliseconds, true)"
    interpreted = "SELECT set_config('jit', 'off', true)"
    # In a statement that is its own transaction, the setting holds for that statement only.
    lazily = ", set_config('synchronous_commit', 'off', true)"

    def __init__(self, *, bound_clock: bool = False) -> None:
        self.now = "CAST(:clock_now AS TIMESTAMPTZ)" if bound_clock else "clock_timestamp()"
        self._moves: dict[MoveStatement, str] = {}
        self._likely: dict[MoveStatement, str] = {}
        self._kept: WeakKeyDictionary[Engine, KeptConnection] = WeakKeyDictionary()
        self._renewals: WeakKeyDictionary[Engine, Renewal] = WeakKeyDictionary()
        self._unprepared: WeakSet[Engine] = WeakSet()
        """Engines whose connections prepare no statements, since a pooler loses them."""

    def json(self, parameter: str) -> str:
        return f"CAST(:{parameter} AS JSONB)"

    def as_json(self, fragment: str) -> str:
        return f"CAST({fragment} AS JSONB)"

    def text(self, parameter: str) -> str:
        return f"CAST(:{parameter} AS TEXT)"

    def integer(self, parameter: str) -> str:
        return f"CAST(:{parameter} AS BIGINT)"

    def number(self, parameter: str) -> str:
        return f"CAST(:{parameter} AS DOUBLE PRECISION)"

    def truth(self, parameter: str) -> str:
        return f"CAST(:{parameter} AS BOOLEAN)"

    def moment(self, parameter: str) -> str:
        return f"CAST(:{parameter} AS TIMESTAMPTZ)"

    def later(self, seconds: str) -> str:
        return f"({self.now} + make_interval(secs => CAST({seconds} AS DOUBLE PRECISION)))"

    def elapsed(self, since: str, until: str) -> str:
        return f"CAST(EXTRACT(EPOCH FROM {until} - {since}) AS DOUBLE PRECISION)"

    def latest(self, *moments: str) -> str:
        return f"GREATEST({', '.join(moments)})"

    def looked_up(self, table: str, columns: str, condition: str, alias: str = "found") -> str:
        # The offset keeps the planner from a join over the whole table.
        inner = f"SELECT {columns} FROM {table} AS {alias} WHERE {condition} OFFSET 0"
        return f" LEFT JOIN LATERAL ({inner}) AS {alias} ON true"

    def spelled(self, columns: str) -> str:
        # A caller's connection may spell moments in any style, which its driver may not read.
        names = columns.split(", ")
        return ", ".join(
            f"{as_number(name)} AS {name}" if name in MOMENT_COLUMNS else name for name in names
        )

    def text_in(self, column: str, *path: str) -> str:
        return f"({column} #>> '{{{','.join(path)}}}')"

    def number_in(self, column: str, *path: str) -> str:
        place = f"'{{{','.join(path)}}}'"
        number = f"CAST({column} #>> {place} AS DOUBLE PRECISION)"
        return f"CASE WHEN jsonb_typeof({column} #> {place}) = 'number' THEN {number} END"

    def lists(self, column: str, value: str) -> str:
        return f"jsonb_exists({column}, CAST({value} AS TEXT))"

    def contains(self, column: str, parameter: str) -> str:
        return f"{column} @> {self.json(parameter)}"

    def has_order(self, column: str) -> str:
        return f"{column} < {NO_XID}"

    def is_settled(self, column: str) -> str:
        return f"{column} < {OLDEST_OPEN}"

    def joined(self, column: str) -> str:
        return f"string_agg(DISTINCT {column}, ',')"

    def merged(self, column: str, patch: str) -> str:
        return f"({column} || {patch})"

    def made(self, name: str, value: str) -> str:
        return f"jsonb_build_object('{name}', {value})"

    def listed_ids(self, parameter: str) -> str:
        return f"(SELECT CAST(jsonb_array_elements_text({self.json(parameter)}) AS UUID))"

    def drafts(self, parameter: str, columns: Columns) -> str:
        fields = ", ".join(f"{name} {_TYPES[kind]}" for name, kind in columns.items())
        return f"jsonb_to_recordset({self.json(parameter)}) AS draft({fields})"

    def spell(self, moment: datetime) -> str:
        return moment.astimezone(UTC).isoformat()

    def locking(self, how: str) -> str:
        return f" {how}"

    def insert(
        self, session: Session, sql: str, parameters: Parameters, *, answers: bool = True
    ) -> list[Row]:
        whole = (
            f"WITH new AS ({sql} RETURNING {CREATED_ANSWER}),"
            " event AS (INSERT INTO taskdb_event (task_id, tenant, to_status, at)"
            " SELECT id, tenant, status, created_at FROM new)"
            f" SELECT {self.spelled(CREATED_ANSWER)} FROM new{'' if answers else ' LIMIT 0'}"
        )
        return session.run(whole, parameters)

    def create_engine(self, url: str, pool_size: int) -> Engine:
        require_driver()
        place = make_url(url)
        given = place.query
        options: dict[str, Any] = {
            name: value for name, value in _CONNECTION.items() if name not in given
        }
        if _PREPARE in given:
            options[_PREPARE] = prepare_threshold(str(given[_PREPARE]))
        engine = create_engine(
            place.difference_update_query([_PREPARE]),
            isolation_level="AUTOCOMMIT",
            # Every statement is its own transaction: nothing to roll back on return.
            pool_reset_on_return=None,
            pool_size=pool_size,
            max_overflow=2,
            # The server process of the last used connection has warm caches.
            pool_use_lifo=True,
            pool_recycle=1800,
            hide_parameters=True,
            json_serializer=spelled,
            connect_args=options,
        )
        kept = ref(engine)

        def begin(connection: Any, record: Any) -> None:
            pin(connection, record)
            read_any_moment(connection)
            if kept() in self._unprepared:
                connection.prepare_threshold = None

        event.listen(engine, "connect", begin)
        self._renewals[engine] = Renewal(engine)
        return engine

    def transaction(self, engine: Engine) -> Engine:
        return engine.execution_options(isolation_level="READ COMMITTED")

    def reading(self, engine: Engine) -> Engine:
        return engine

    @contextmanager
    def session(self, engine: Engine, *, writes: bool) -> Iterator[Session]:  # noqa: ARG002 - SQLite needs to know
        kept = self._kept_connection(engine)
        lent = kept.take(engine)
        pooled, _ = lent
        connection: Any = pooled.driver_connection
        begins = BEGINS in pooled.info
        try:
            sends_early = tells_before(pooled)
            if begins:
                connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            yield DriverSession(_cursor_of(pooled), _STYLE, tells_before=sends_early)
            if begins:
                connection.execute("COMMIT")
        except BaseException:
            if begins or self.is_unfinished(connection):
                pooled.invalidate()
            pooled.close()
            raise
        if self._renewals[engine].is_stale(pooled.info):
            pooled.close()
        else:
            kept.give(lent)

    def close(self, engine: Engine) -> None:
        self._kept_connection(engine).close()
        engine.dispose()

    def renew(self, engine: Engine, *, without_prepared: bool) -> None:
        if without_prepared and engine not in self._unprepared:
            self._unprepared.add(engine)
            log.warning("database.prepared_statements_lost", advice=_PREPARED_ADVICE)
        self._renewals[engine].renew()
        self._kept_connection(engine).close()

    def forget(self, engine: Engine) -> None:
        self._kept_connection(engine).forget()
        engine.dispose(close=False)

    def _kept_connection(self, engine: Engine) -> KeptConnection:
        kept = self._kept.get(engine)
        return self._kept.setdefault(engine, KeptConnection()) if kept is None else kept

    def is_unfinished(self, connection: Any) -> bool:
        return connection.pgconn.transaction_status in _UNFINISHED

    def move(
        self, session: Session, statement: MoveStatement, parameters: Parameters
    ) -> list[Moved]:
        if statement.is_likely and session.tells_before:
            # A refused row is unchanged; the whole statement then returns its columns.
            found = session.run(self.likely_sql(statement), parameters)
            if found:
                return _moved(found)
        prepared = not statement.planned_each_time
        return _moved(session.run(self.move_sql(statement), parameters, prepared=prepared))

    def query(self, session: Session, sql: str, parameters: Parameters) -> list[Row]:
        return session.run(sql, parameters)

    def move_sql(self, statement: MoveStatement) -> str:
        """The whole statement of a move, written once."""
        sql = self._moves.get(statement)
        if sql is None:
            sql = self._moves[statement] = self._written(statement)
        return sql

    def likely_sql(self, statement: MoveStatement) -> str:
        """The same move as one plain update, written once; it returns nothing for a refused row.

        The server need not read and lock the row first, which saves a fifth of the work.
        """
        sql = self._likely.get(statement)
        if sql is None:
            sql = self._likely[statement] = self._plainly_written(statement)
        return sql

    def _plainly_written(self, statement: MoveStatement) -> str:
        assignments = (*statement.assignments, ("updated_at", self.now))
        sets = ", ".join(f"{column} = {value}" for column, value in assignments)
        asked = dict.fromkeys(("status", *statement.answer))
        answer = "".join(f", {_read(column, 'was')}" for column in asked)
        commit = "" if statement.durable else self.lazily
        return (
            # The CASE hides the guard from the planner. It would choose a partial index that was
            # small at planning time, while the queue is long now.
            f"WITH moved AS (UPDATE taskdb_task AS old SET {sets} WHERE {statement.selection}"
            f" AND CASE WHEN ({statement.guard}) AND {OWNED} THEN true ELSE false END"
            " RETURNING WITH (OLD AS was) old.id AS moved_id, old.tenant AS moved_tenant,"
            " old.status AS moved_to, old.attempt AS moved_attempt,"
            f" COALESCE(old.worker, was.worker) AS moved_worker{answer}),"
            " event AS (INSERT INTO taskdb_event"
            " (task_id, tenant, from_status, to_status, attempt, worker, at, detail)"
            " SELECT moved_id, moved_tenant, status, moved_to, moved_attempt, moved_worker,"
            f" {self.now}, {self.json('detail')} FROM moved)"
            f" SELECT CAST(moved_id AS TEXT) AS id, {', '.join(asked)}, moved_to{commit} FROM moved"
        )

    def _written(self, statement: MoveStatement) -> str:
        assignments = (*whole(statement.assignments), ("updated_at", self.now))
        guard = f"({statement.guard}) AND {OWNED}"
        fragments = " ".join((guard, *(value for _, value in assignments)))
        needed = _OLD_COLUMN.findall(fragments)
        wanted = dict.fromkeys((*_EVENT_COLUMNS, *statement.answer, *needed))
        columns = ", ".join(f"old.{column}" for column in wanted)
        asked = dict.fromkeys(("status", *statement.answer))
        answer = "".join(f", {_read(column)}" for column in asked)
        sets = ", ".join(f"{column} = {value}" for column, value in assignments)
        order = " ORDER BY old.id" if statement.many else ""
        lock = " FOR UPDATE SKIP LOCKED" if statement.skip_locked else " FOR UPDATE"
        commit = "" if statement.durable else self.lazily
        given = ""
        if statement.given is not None:
            given = f" JOIN {self.drafts('given', statement.given)} ON draft.id = old.id"
        return (
            f"WITH old AS (SELECT {columns} FROM taskdb_task AS old"
            f" WHERE {statement.selection}{order}{lock}),"
            f" moved AS (UPDATE taskdb_task AS t SET {sets} FROM old{given}"
            f" WHERE t.id = old.id AND {guard}"
            " RETURNING t.id, t.tenant, old.status AS moved_from, t.status, t.attempt,"
            " COALESCE(t.worker, old.worker) AS worker), event AS (INSERT INTO taskdb_event"
            " (task_id, tenant, from_status, to_status, attempt, worker, at, detail)"
            " SELECT moved.id, moved.tenant, moved.moved_from, moved.status, moved.attempt,"
            f" moved.worker, {self.now}, {self.json('detail')} FROM moved)"
            f" SELECT CAST(old.id AS TEXT) AS id{answer}, moved.status AS moved_to{commit}"
            " FROM old LEFT JOIN moved ON moved.id = old.id"
        )


def _cursor_of(pooled: Any) -> Any:
    """The cursor of a connection for moves; one session uses it at a time.

    A new cursor looks up again how to read and write each type: nearly half of the driver's time.
    """
    cursor = pooled.info.get(_CURSOR)
    if cursor is None:
        cursor = pooled.info[_CURSOR] = pooled.driver_connection.cursor()
    return cursor


def prepare_threshold(text: str) -> int | None:
    """The number of runs before a statement is prepared; `none` is never. Raises ValueError."""
    return None if text.lower() == "none" else int(text)


def _read(column: str, row: str = "old") -> str:
    # As text: the driver would first make an object of the value.
    if column in JSON_COLUMNS or column in ID_COLUMNS:
        return f"CAST({row}.{column} AS TEXT) AS {column}"
    return f"{row}.{column}"


def _moved(found: list[Row]) -> list[Moved]:
    return [Moved(row["id"], row, row["moved_to"]) for row in found]
