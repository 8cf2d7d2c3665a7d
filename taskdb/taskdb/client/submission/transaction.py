"""A submit inside the caller's transaction: it exists exactly if that transaction commits.

One small protocol serves SQLAlchemy's Session, AsyncSession and Connection (and, through its own
adapter, Django): the rows are written over the caller's connection, and their publication waits
for the commit. The hooks read nothing, never raise and never block. A framework that keeps the
transaction of the running request registers itself with `join_transactions_of`: a submit without
a session then joins that transaction.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction, scoped_session
from sqlalchemy.util.concurrency import await_only, in_greenlet

from taskdb.errors import Fault, InvalidInput
from taskdb.logger import get_logger

log = get_logger("taskdb.transaction")

T = TypeVar("T")


class Publish(Protocol):
    """Publishes rows once they are committed."""

    def __call__(self, items: Sequence[Any], *, certain: bool) -> None:
        """Publish without blocking; `certain` is False if the commit has not happened yet."""


class CallerTransaction(Protocol):
    """The transaction that a submit joins."""

    def connection(self) -> Connection | None:
        """Return the connection whose transaction the rows belong to.

        None if the rows live in another database: they are written after the commit.
        """

    def after_commit(self, items: Sequence[Any], publish: Publish) -> None:
        """Publish these once the outermost transaction has committed; forget them on rollback."""


class Transactions(Protocol):
    """A framework that keeps the transaction of the running request."""

    def knows(self, session: Any) -> bool:
        """Whether this is one of the framework's connections."""

    def open(self, session: Any, store_url: str) -> CallerTransaction | None:
        """Return the open transaction of its connection (None: the one of the store's database).

        None if none is open: the submit then commits by itself.
        """

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread that owns the connections of this coroutine."""


_frameworks: list[Transactions] = []


def join_transactions_of(framework: Transactions) -> None:
    """Let every submit without a session join the open transaction of this framework."""
    if framework not in _frameworks:
        _frameworks.append(framework)


def leave_transactions_of(framework: Transactions) -> None:
    """Undo `join_transactions_of`."""
    if framework in _frameworks:
        _frameworks.remove(framework)


def transaction_for(session: Any, store_url: str) -> CallerTransaction | None:
    """Return the transaction that a submit joins; None if the submit commits by itself.

    Raises InvalidInput for an unsupported session.
    """
    for framework in _frameworks:
        if session is None or framework.knows(session):
            found = framework.open(session, store_url)
            if found is not None or session is not None:
                return found
    return None if session is None else caller_transaction(session)


async def in_submitting_thread(work: Callable[[], T]) -> T:
    """Run blocking work for a coroutine, in the thread whose transaction it would join."""
    if _frameworks:
        return await _frameworks[0].in_thread(work)
    return await asyncio.to_thread(work)


def beside_loop(work: Callable[[], T]) -> T:
    """Run blocking work in a thread if called on the loop of an asynchronous session, else here."""
    if not _runs_on_a_loop():
        return work()
    found: T = await_only(asyncio.to_thread(work))
    return found


def _runs_on_a_loop() -> bool:
    """Whether an asynchronous session of SQLAlchemy runs this code.

    The check needs greenlet, an optional extra: without it SQLAlchemy raises an error.
    """
    return "greenlet" in sys.modules and bool(in_greenlet())


def caller_transaction(session: Any) -> CallerTransaction:
    """Wrap the session of a user in the protocol; raises InvalidInput for an unsupported one."""
    if isinstance(session, scoped_session):
        session = session()
    # Asynchronous sessions carry their synchronous twin; importing their classes needs greenlet.
    twin = getattr(session, "sync_session", None) or getattr(session, "sync_connection", None)
    if twin is not None and not _runs_on_a_loop():
        raise wrong_session(session, "it to submit_task_async or submit_many_async")
    session = twin or session
    if isinstance(session, Session):
        return _SessionTransaction(session)
    if isinstance(session, Connection):
        return _ConnectionTransaction(session)
    if hasattr(session, "after_commit") and hasattr(session, "connection"):
        transaction: CallerTransaction = session
        return transaction
    raise wrong_session(session, "a SQLAlchemy Session, AsyncSession or Connection")


def wrong_session(session: Any, wanted: str) -> InvalidInput:
    """Return the error for a session that cannot be joined."""
    advice = f"a session of type {type(session).__name__} cannot be joined here: pass {wanted}"
    return InvalidInput("the submit request", [Fault("session", advice)])


class _SessionTransaction:
    def __init__(self, session: Session) -> None:
        self._session = session

    def connection(self) -> Connection:
        return self._session.connection()

    def after_commit(self, items: Sequence[Any], publish: Publish) -> None:
        if items:
            pending = _pending_of(self._session)
            pending.entries.append(_Entry(_enclosing(self._session), list(items), publish))


@dataclass(slots=True)
class _Entry:
    """Publications of one submit, and the transactions that must still commit."""

    chain: list[SessionTransaction]
    items: list[Any]
    publish: Publish


class _PendingInSession:
    """Publications of one session. It lives in the session, and no longer."""

    def __init__(self) -> None:
        self.entries: list[_Entry] = []

    def committed(self, session: Session) -> None:
        # SQLAlchemy fires "committed" for a released savepoint too.
        released = session.get_nested_transaction()
        if released is not None:
            for entry in self.entries:
                if released in entry.chain:
                    entry.chain.remove(released)
            return
        entries, self.entries = self.entries, []
        if not _bound_to_open_transaction(session):
            for entry in entries:
                _publish_quietly(entry.publish, entry.items, certain=True)

    def ended(self, _session: Session, ended: SessionTransaction) -> None:
        # An entry that still waits for this transaction was rolled back, or closed uncommitted.
        self.entries = [entry for entry in self.entries if ended not in entry.chain]


def _pending_of(session: Session) -> _PendingInSession:
    pending = session.info.get(_INFO)
    if not isinstance(pending, _PendingInSession):
        pending = session.info[_INFO] = _PendingInSession()
        event.listen(session, "after_commit", pending.committed)
        event.listen(session, "after_transaction_end", pending.ended)
    return pending


_INFO = "taskdb_publications"


def _enclosing(session: Session) -> list[SessionTransaction]:
    """Return the open savepoints and the transaction of the session, innermost first."""
    chain = []
    transaction = session.get_nested_transaction() or session.get_transaction()
    while transaction is not None:
        # Transactions of a flush are also in the chain, but commit nothing.
        if transaction.nested or transaction.parent is None:
            chain.append(transaction)
        transaction = transaction.parent
    return chain


def _bound_to_open_transaction(session: Session) -> bool:
    """Whether the session runs inside the transaction of an outer connection, as in tests.

    No event reports when that transaction ends; the relay publishes the rows then.
    """
    return isinstance(session.bind, Connection) and session.bind.in_transaction()


class _ConnectionTransaction:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection(self) -> Connection:
        return self._connection

    def after_commit(self, items: Sequence[Any], publish: Publish) -> None:
        if not items:
            return
        # SQLAlchemy fires the commit event of a plain connection before the commit, and none
        # after it: the publisher must see the rows before it publishes them.
        if self._connection not in _connections:
            _connections[self._connection] = _PendingOnConnection(self._connection)
        _connections[self._connection].add(items, publish)


class _PendingOnConnection:
    """Publications of one connection, by their savepoint."""

    def __init__(self, connection: Connection) -> None:
        self._savepoints: list[str] = []
        self._items: list[tuple[tuple[str, ...], list[Any], Publish]] = []
        event.listen(connection, "savepoint", self._opened)
        event.listen(connection, "release_savepoint", self._released)
        event.listen(connection, "rollback_savepoint", self._undone)
        event.listen(connection, "rollback", self._rolled_back)
        event.listen(connection, "commit", self._committing)

    def add(self, items: Sequence[Any], publish: Publish) -> None:
        self._items.append((tuple(self._savepoints), list(items), publish))

    def _opened(self, _connection: Connection, name: str) -> None:
        self._savepoints.append(name)

    def _released(self, _connection: Connection, name: str, _context: Any) -> None:
        self._close(name)

    def _undone(self, _connection: Connection, name: str, _context: Any) -> None:
        self._items = [entry for entry in self._items if name not in entry[0]]
        self._close(name)

    def _close(self, name: str) -> None:
        if name in self._savepoints:
            self._savepoints.remove(name)

    def _rolled_back(self, _connection: Connection) -> None:
        self._items = []

    def _committing(self, _connection: Connection) -> None:
        entries, self._items = self._items, []
        for _, items, publish in entries:
            _publish_quietly(publish, items, certain=False)


_connections: WeakKeyDictionary[Connection, _PendingOnConnection] = WeakKeyDictionary()


def _publish_quietly(publish: Publish, items: list[Any], *, certain: bool) -> None:
    try:
        publish(items, certain=certain)
    except Exception:
        # The caller's commit has happened; the relay publishes despite this error.
        log.exception("publish.hook_failed", count=len(items))
