"""A submit inside `transaction.atomic()`: its row belongs to Django's transaction.

If the rows are in the database of that transaction, they are written over Django's own
connection; else they are written after its commit. Django's `on_commit` forgets callbacks when the
savepoint of an `atomic` is rolled back; this module adds savepoints that are made by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionProxy
from sqlalchemy import Connection

from taskdb.client.submission.transaction import CallerTransaction, Publish
from taskdb.contrib.django import database
from taskdb.contrib.django.configuration import option
from taskdb.contrib.django.joined_connection import joined_connection
from taskdb.logger import get_logger

log = get_logger("taskdb.transaction")

T = TypeVar("T")


class DjangoTransactions:
    """The transactions of Django's connections in the running thread."""

    def __init__(self) -> None:
        self._aliases: dict[Any, str | None] = {}
        self.is_rehearsed = False
        """Whether the transaction of a TestCase, which never commits, holds back no task."""

    def knows(self, session: Any) -> bool:
        """Whether this is `django.db.connection`, or one of `connections`."""
        return isinstance(session, BaseDatabaseWrapper | ConnectionProxy) and hasattr(
            session, "in_atomic_block"
        )

    def open(self, session: Any, store_url: str) -> CallerTransaction | None:
        """Return the transaction of this connection; without one, that of our or another database.

        A submit inside a transaction of another database only waits for its commit.
        """
        own = self._alias_on(store_url)
        if session is not None:
            found = session if _is_open(session) else None
        else:
            found = _open_connection(own, of_code=self.is_rehearsed)
        if found is None:
            return None
        if found.alias == own:
            return _Joined(connections[own])
        is_of_test = self.is_rehearsed and not _is_open_in_code(found)
        return None if is_of_test else _Elsewhere(found)

    def create_waiting(self) -> None:
        """Create the tasks of code whose transaction in a TestCase has ended, as if committed."""
        for wrapper in connections.all(initialized_only=True):
            if wrapper.in_atomic_block and not _is_open_in_code(wrapper):
                waiting = [one for one in wrapper.run_on_commit if isinstance(one[1], _Creation)]
                for one in waiting:
                    wrapper.run_on_commit.remove(one)
                    one[1]()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run it in the thread in which the ORM's own asynchronous methods run."""
        done: T = await sync_to_async(work, thread_sensitive=True)()
        return done

    def _alias_on(self, store_url: str) -> str | None:
        named = option("DATABASE")
        # A test database has another name under the same alias.
        places = tuple(connections[alias].settings_dict["NAME"] for alias in connections)
        key = (store_url, named, places)
        if key not in self._aliases:
            self._aliases[key] = database.alias_on(store_url, named)
        return self._aliases[key]


def _open_connection(own: str | None, *, of_code: bool) -> Any:
    """Return the open connection of this thread whose commit counts: ours, default, or another.

    With `of_code`, one whose transaction is not only that of a TestCase comes first.
    """
    found = [wrapper for wrapper in connections.all(initialized_only=True) if _is_open(wrapper)]
    order = (own, DEFAULT_DB_ALIAS)
    return min(
        found,
        key=lambda wrapper: (
            of_code and not _is_open_in_code(wrapper),
            order.index(wrapper.alias) if wrapper.alias in order else len(order),
        ),
        default=None,
    )


def _is_open_in_code(wrapper: Any) -> bool:
    return any(not block._from_testcase for block in wrapper.atomic_blocks)  # noqa: SLF001 - Django has no public name for it


def _is_open(wrapper: Any) -> bool:
    """Whether a write now waits for a commit; opens no connection."""
    is_connected = wrapper.connection is not None
    commits_itself = wrapper.autocommit if is_connected else wrapper.settings_dict["AUTOCOMMIT"]
    return bool(wrapper.in_atomic_block or not commits_itself)


class _Joined:
    """Writes the rows over Django's connection."""

    def __init__(self, wrapper: Any) -> None:
        self._wrapper = wrapper

    def connection(self) -> Connection | None:
        return joined_connection(self._wrapper)

    def after_commit(self, items: Sequence[Any], publish: Publish) -> None:
        # Code that switched autocommit off commits without Django's hooks: the relay publishes.
        if items and self._wrapper.in_atomic_block:
            on_commit(self._wrapper, lambda: self._publish(items, publish), robust=True)

    def _publish(self, items: Sequence[Any], publish: Publish) -> None:
        # Skip it in a test that runs the callbacks of a transaction that it never commits.
        if not self._wrapper.in_atomic_block:
            publish(items, certain=True)


class _Elsewhere:
    """Creates the rows in another database after this transaction has committed."""

    def __init__(self, wrapper: Any) -> None:
        self._wrapper = wrapper

    def connection(self) -> Connection | None:
        return None

    def after_commit(self, items: Sequence[Any], publish: Publish) -> None:
        if items and self._wrapper.in_atomic_block:
            on_commit(self._wrapper, _Creation(items, publish))
        elif items:
            _Creation(items, publish)()


@dataclass(frozen=True, slots=True, eq=False)
class _Creation:
    """Creates rows after the commit of another database."""

    items: Sequence[Any]
    create: Publish

    def __call__(self) -> None:
        try:
            self.create(self.items, certain=True)
        except Exception:
            ids = [getattr(item, "id", None) for item in self.items]
            log.exception("submit.lost", task_ids=ids)
            raise


def on_commit(wrapper: Any, work: Callable[[], None], *, robust: bool = False) -> None:
    """Run `work` after the outermost commit, unless a savepoint that is open now is rolled back.

    With `robust`, an error is logged and does not reach the request, which has committed.
    """
    wrapper.on_commit(work, robust=robust)
    if wrapper.run_on_commit and wrapper.run_on_commit[-1][1] is work:
        sids, *rest = wrapper.run_on_commit[-1]
        wrapper.run_on_commit[-1] = (_Open(sids, wrapper.savepoint_state), *rest)


class _Open(frozenset[str]):
    """The savepoints that may be open now, including those of `transaction.savepoint()`.

    Django numbers the savepoints of a connection, but stores only those of its atomic blocks.
    """

    _last: int

    def __new__(cls, sids: Any, last: int) -> Self:
        made = super().__new__(cls, (sid for sid in sids if sid is not None))
        made._last = last
        return made

    def __contains__(self, sid: object) -> bool:
        number = str(sid).rpartition("_x")[2]
        return super().__contains__(sid) or (number.isdecimal() and int(number) <= self._last)
