"""A SQLAlchemy connection over one of Django's: Django's cursor runs the store's statements.

So our statements run in Django's open transaction, with its query log, its execute
wrappers and its errors. Only Django begins, commits and rolls back.
"""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any
from weakref import WeakKeyDictionary, ref

from django.db.utils import DatabaseError
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from taskdb.errors import DatabaseNotMigrated
from taskdb.store.engine import faults

_NOT_MIGRATED = "the database {alias!r} of Django lacks our tables: run `manage.py migrate`"

_connections: WeakKeyDictionary[Any, Connection] = WeakKeyDictionary()


def joined_connection(wrapper: Any) -> Connection:
    """Return our connection over this one of Django's; it belongs to the same thread."""
    found = _connections.get(wrapper)
    if found is None:
        found = _connections[wrapper] = _engine(wrapper).connect()
    return found


def _engine(wrapper: Any) -> Engine:
    url = make_url(_driver_url(wrapper))
    # Django's cursor for SQLite supports only `%s`.
    style = {"paramstyle": "format"} if wrapper.vendor == "sqlite" else {}
    dialect_class: Any = url.get_dialect()
    dialect = dialect_class(dbapi=dialect_class.import_dbapi(), **style)
    kept = ref(wrapper)
    # `create_engine` would query the server at the first connection: inside an open transaction,
    # and among the queries that a test counts.
    lend: Any = lambda: _Lent(kept)  # noqa: E731 - SQLAlchemy wants a whole DBAPI connection of it
    return Engine(NullPool(lend), dialect, url, hide_parameters=True)


def _driver_url(wrapper: Any) -> str:
    if wrapper.vendor == "sqlite":
        return "sqlite+pysqlite://"
    from django.db.backends.postgresql.psycopg_any import is_psycopg3  # noqa: PLC0415 - needs a driver

    return "postgresql+psycopg://" if is_psycopg3 else "postgresql+psycopg2://"


class _Lent:
    """A connection for SQLAlchemy that never ends a transaction: Django does."""

    def __init__(self, wrapper: ref[Any]) -> None:
        self._wrapper = wrapper

    def cursor(self) -> _LentCursor:
        wrapper: Any = self._wrapper()
        cursor = wrapper.cursor()
        _read_as_we_do(cursor.cursor, wrapper.vendor)
        return _LentCursor(cursor, wrapper.alias)

    def commit(self) -> None:
        """Django commits."""

    def rollback(self) -> None:
        """Django rolls back."""

    def close(self) -> None:
        """Django closes."""


class _LentCursor:
    """A cursor of Django's; a missing table raises DatabaseNotMigrated with the command to run."""

    def __init__(self, cursor: Any, alias: str) -> None:
        self._cursor = cursor
        self._alias = alias

    def execute(self, sql: str, parameters: Any = None) -> Any:
        try:
            return self._cursor.execute(sql, parameters)
        except DatabaseError as error:
            cause = error.__cause__
            known = cause if isinstance(cause, Exception) else error
            if isinstance(faults.meaning(known, "sqlite://"), DatabaseNotMigrated):
                raise DatabaseNotMigrated(_NOT_MIGRATED.format(alias=self._alias)) from error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def _read_as_we_do(cursor: Any, vendor: str) -> None:
    """Undo, for this cursor only, the effect of Django's settings on moments (`USE_TZ`, zones)."""
    if vendor != "postgresql":
        return
    adapters = getattr(cursor, "adapters", None)
    if adapters is not None:
        from psycopg.types.datetime import (  # noqa: PLC0415 - an extra
            TimestamptzBinaryLoader,
            TimestamptzLoader,
        )

        adapters.register_loader("timestamptz", TimestamptzLoader)
        adapters.register_loader("timestamptz", TimestamptzBinaryLoader)
    else:
        cursor.tzinfo_factory = _fixed_zone


def _fixed_zone(offset: Any) -> timezone:
    """Return a time zone for psycopg2's offset: a duration, or minutes in older releases."""
    return timezone(offset if isinstance(offset, timedelta) else timedelta(minutes=offset))
