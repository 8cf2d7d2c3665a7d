"""Access to the database: one pool a process, errors with advice, a checked schema."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from taskdb.errors import DatabaseCollision, DatabaseError, ValueRefused
from taskdb.fork import renew_after_fork
from taskdb.logger import get_logger
from taskdb.model.clock import Clock
from taskdb.store.engine import faults
from taskdb.store.engine.cluster import is_other_cluster, settle_over
from taskdb.store.engine.dialect import Moved, MoveStatement, StoreDialect
from taskdb.store.engine.dialects import name_of, spoken
from taskdb.store.engine.migrations import revision
from taskdb.store.engine.session import JoinedSession, Parameters, Row, Session
from taskdb.store.engine.sqlite.fork_lock import ForkLock

log = get_logger("taskdb.database")

T = TypeVar("T")

IDLE_SECONDS = 30.0
"""How long our own transaction may idle between statements; nothing makes it wait there."""

_COLLISIONS = 5
"""The most repeats of the same work after collisions."""
_COLLISION_SECONDS = 0.005
"""Before its first repeat, work pauses at most twice this; the limit doubles each time."""

_COLLIDED = (
    "another transaction was in the way of yours: roll back, and repeat the whole transaction from "
    "its beginning, this submit included"
)

_NO_LOCK = nullcontext()


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections of this process: how many are open, are in use, and are allowed."""

    open: int
    in_use: int
    limit: int


class Database:
    """Connections to one database. Each process opens its own.

    A forked child never uses and never closes an inherited connection: the parent owns its socket.
    The first connection of a process checks the schema. With `migrates_itself` (the embedded
    default) it migrates the schema first.
    """

    def __init__(
        self, url: str, clock: Clock, *, pool_size: int = 5, migrates_itself: bool = False
    ) -> None:
        self.url = url
        self._clock = clock
        self._pool_size = pool_size
        self._migrates_itself = migrates_itself
        self._lock = threading.Lock()
        self._pid = 0
        self._engines: dict[str, Engine] = {}
        self.settles_again_at = float("-inf")
        """By `time.monotonic`: when a reader of the history next checks for a restore."""
        self._joined: Callable[[], Connection] | None = None
        self._speak()
        self.idle_seconds = IDLE_SECONDS
        renew_after_fork(self)
        self._fork_lock = ForkLock(self._close_engines) if self.dialect.is_file else None

    def spoken(self, name: str) -> StoreDialect:
        """The dialect with this name. A caller's connection may need another one than ours."""
        return spoken(name, bound_clock=self._clock.bound() is not None)

    def keep_time(self, clock: Clock) -> Clock:
        """Take `now` from this clock from here on. Returns the previous clock."""
        before, self._clock = self._clock, clock
        # A dialect closes the connections that it has opened.
        self.close()
        self._speak()
        return before

    @contextmanager
    def over(self, connect: Callable[[], Connection]) -> Iterator[None]:
        """Do all work inside the transaction of this connection, and never end it.

        For tests that roll back. `connect` returns the connection of the calling thread.
        """
        before, self._joined = self._joined, connect
        try:
            yield
        finally:
            self._joined = before

    @contextmanager
    def _savepoint(self, connect: Callable[[], Connection]) -> Iterator[Connection]:
        connection = connect()
        with self._translated(), connection.begin_nested():
            yield connection

    def _speak(self) -> None:
        self.dialect = self.spoken(name_of(self.url))

    def move(self, statement: MoveStatement, parameters: Parameters) -> list[Moved]:
        """Carry out one move and commit it. A move is safe to repeat, so errors may repeat it."""
        bound = self.parameters(parameters)

        def attempt() -> list[Moved]:
            with self.session() as session:
                return self.dialect.move(session, statement, bound)

        return self.again(attempt)

    def query(self, sql: str, parameters: Parameters, *, writes: bool = True) -> list[Row]:
        """Run one statement and commit it. It must be safe to repeat."""
        bound = self.parameters(parameters)

        def attempt() -> list[Row]:
            with self.session(writes=writes) as session:
                return self.dialect.query(session, sql, bound)

        return self.again(attempt)

    def survey(self, sql: str, parameters: Parameters) -> list[Row]:
        """Run one reading statement that counts many rows and has many expressions.

        The server does not compile it: compilation takes longer than the statement itself, on a
        busy machine a hundred times as long.
        """
        if not self.dialect.interpreted:
            return self.query(sql, parameters, writes=False)
        bound = self.parameters(parameters)

        def attempt() -> list[Row]:
            with self.transaction() as connection:
                connection.execute(text(self.dialect.interpreted))
                return self.dialect.query(JoinedSession(connection), sql, bound)

        return self.again(attempt)

    def parameters(self, given: Parameters) -> dict[str, Any]:
        """The given parameters, and those that every statement may name."""
        return {"detail": None, "clock_now": self._clock.bound(), **given}

    @contextmanager
    def session(self, *, writes: bool = True) -> Iterator[Session]:
        """Lend a connection for one move or one statement; it commits by itself."""
        if self._joined is not None:
            with self._savepoint(self._joined) as connection:
                yield JoinedSession(connection)
            return
        # Every move runs through here, so this path has as few layers as possible.
        try:
            with (
                self._at_rest_in_forks(),
                self.dialect.session(self._engine("moving"), writes=writes) as session,
            ):
                yield session
        except Exception as error:
            self._translate(error)
            raise

    @contextmanager
    def transaction(self, *, may_idle: bool = False) -> Iterator[Connection]:
        """Lend a connection for several statements that become visible together.

        Unless it `may_idle`, the server ends the transaction after `idle_seconds` without a
        statement. A stopped process, or a lost machine, would otherwise keep its locks.
        """
        if self._joined is not None:
            with self._savepoint(self._joined) as connection:
                yield connection
            return
        with (
            self._at_rest_in_forks(),
            self._translated(),
            self._engine("transaction").begin() as connection,
            self._unspoiled(connection),
        ):
            if not may_idle and self.dialect.watch:
                connection.execute(text(self.dialect.watch), self.idle_limit)
            yield connection

    @property
    def idle_limit(self) -> dict[str, str]:
        """The parameter of a statement that makes the server watch its transaction."""
        return {"milliseconds": str(round(self.idle_seconds * 1000))}

    def read(self, work: Callable[[Connection], T]) -> T:
        """Call a function with a connection for reading, and return its result."""
        if self._joined is not None:
            with self._savepoint(self._joined) as connection:
                return work(connection)

        def attempt() -> T:
            with (
                self._at_rest_in_forks(),
                self._translated(),
                self._engine("reading").connect() as connection,
                self._unspoiled(connection),
            ):
                return work(connection)

        return self.again(attempt)

    def again(self, work: Callable[[], T]) -> T:
        """Do the work; repeat it once for a new connection, or up to 5 times after collisions."""
        repeats = 0
        while True:
            try:
                return work()
            except DatabaseError as error:
                is_collision = isinstance(error, DatabaseCollision)
                most = _COLLISIONS if is_collision else 1
                if repeats >= most or not faults.worth_repeating(error.__cause__):
                    raise
            repeats += 1
            if is_collision:
                # The pause needs no cryptographic randomness.
                time.sleep(random.uniform(0, _COLLISION_SECONDS * 2**repeats))  # noqa: S311

    @property
    def is_joined(self) -> bool:
        """Whether all work runs inside a transaction of a caller (see `over`)."""
        return self._joined is not None

    def over_transactions(self, work: Callable[[Engine], T]) -> T:
        """Call a function with an engine for its own transactions, and return its result."""
        with self._at_rest_in_forks(), self._translated():
            return work(self._engine("transaction"))

    def prepare(self) -> None:
        """Import the modules of connections, before there are threads and forks.

        If the parent forks while another thread imports, the child waits for that import for ever.
        The parent must make its first connection before its forks, or after them.
        """
        self.dialect.create_engine(self.url, 1).dispose()

    def pool(self) -> Pool:
        """Count the connections; opens none. A kept connection counts as in use."""
        engine = self._engines.get("moving") if self._pid == os.getpid() else None
        if engine is None or not isinstance(engine.pool, QueuePool):
            return Pool(0, 0, self._pool_size)
        pool = engine.pool
        in_use = pool.checkedout()
        most = pool.size() + pool._max_overflow  # noqa: SLF001 - the pool has no public property for it
        return Pool(pool.checkedin() + in_use, in_use, most)

    def close(self) -> None:
        """Close the connections of this process; the next use opens new ones."""
        with self._at_rest_in_forks():
            self._close_engines()

    def _renew(self, *, without_prepared: bool) -> None:
        """Stop using the open connections of this process: their server is not the right one."""
        engines = self._engines
        if engines and self._pid == os.getpid():
            self.dialect.renew(engines["moving"], without_prepared=without_prepared)

    def _close_engines(self) -> None:
        with self._lock:
            if self._engines and self._pid == os.getpid():
                self.dialect.close(self._engines["moving"])
            self._engines = {}

    def _at_rest_in_forks(self) -> AbstractContextManager[None]:
        return _NO_LOCK if self._fork_lock is None else self._fork_lock.inside()

    def after_fork(self) -> None:
        """Renew the lock: another thread of the parent may have held it during the fork."""
        self._lock = threading.Lock()

    def _engine(self, use: str) -> Engine:
        engines = self._engines
        if engines and self._pid == os.getpid():
            return engines[use]
        with self._lock:
            if self._pid != os.getpid() or not self._engines:
                self._engines = self._open()
                self._pid = os.getpid()
            return self._engines[use]

    def _open(self) -> dict[str, Engine]:
        if self._engines:
            self.dialect.forget(self._engines["moving"])
        if self._migrates_itself:
            # Only the embedded default migrates on opening, and only then is Alembic needed.
            from taskdb.store.engine.migrations.migrate import migrate  # noqa: PLC0415

            migrate(self.url)
        engine = self.dialect.create_engine(self.url, self._pool_size)
        engines = {
            "moving": engine,
            "transaction": self.dialect.transaction(engine),
            "reading": self.dialect.reading(engine),
        }
        try:
            with engines["reading"].connect() as connection:
                revision.check(connection)
                is_restored = is_other_cluster(connection)
            if is_restored:
                _settle(engines["transaction"])
        except BaseException:
            engine.dispose()
            raise
        return engines

    @contextmanager
    def _unspoiled(self, connection: Connection) -> Iterator[None]:
        """Discard a connection whose statement was interrupted, instead of pooling it."""
        try:
            yield
        except BaseException:
            if not connection.invalidated and self.dialect.is_unfinished(
                connection.connection.driver_connection
            ):
                connection.invalidate()
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._translate(error)
            raise

    @contextmanager
    def in_transaction_of_caller(self) -> Iterator[None]:
        """Raise our error after a collision or a refused value in a caller's transaction.

        Other errors stay as they are: the caller owns the connection and its settings.
        """
        try:
            yield
        except DBAPIError as error:
            kind, reason = faults.kind_of(error), faults.reason_of(error)
            if kind is faults.Kind.COLLISION:
                raise DatabaseCollision(f"{_COLLIDED} ({reason})", error.orig) from error
            if kind is faults.Kind.VALUE:
                raise ValueRefused(reason) from error
            raise

    def _translate(self, error: Exception) -> None:
        """Raise our error for a driver's error, if there is one.

        If the connections are at fault, the next use opens new ones.
        """
        if faults.spoils_pool(error):
            self._renew(without_prepared=faults.lost_prepared(error))
        meaning = faults.meaning(error, self.url)
        if meaning is not None:
            raise meaning from error


def _settle(transactions: Engine) -> None:
    """Settle the history after a restore, before this process writes its first event."""
    try:
        settle_over(transactions)
    except DBAPIError as error:
        # A role that may not alter the history can still work; a beat or `migrate` settles it.
        log.warning("history.shift_failed", reason=str(error.orig))
