"""What a driver's error means, in words that say what to do."""

from __future__ import annotations

import sqlite3

from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from taskdb.errors import DatabaseError, DatabaseNotMigrated, DatabaseUnreachable

_NOT_MIGRATED = "the database lacks our tables: run `taskdb migrate`"
# Undefined table, column and schema.
_MISSING = frozenset({"42P01", "42703", "3F000"})
# Connection failures, a server that shuts down or starts, no slot left for a connection, and a
# transaction that idled for so long that the server ended it with its connection.
_AWAY = ("08", "57P", "53300", "25P03")
# Read only, no space or memory, lock or statement timeout, system and internal errors.
_REFUSED = ("25006", "53", "55P03", "57014", "58", "XX")
_COLLIDED = frozenset({"40001", "40P01"})


def meaning(error: Exception, url: str) -> DatabaseError | None:
    """The error of ours that a driver's error stands for; None when it is a fault of the caller."""
    if isinstance(error, PoolTimeout):
        reason = "all connections of this process are in use"
        return DatabaseUnreachable(
            _message(url, reason, "raise the pool size or run fewer threads")
        )
    origin = _origin(error)
    if isinstance(origin, sqlite3.Error):
        return _of_sqlite(origin, url)
    if hasattr(origin, "sqlstate"):
        return _of_postgresql(origin, url)
    return None


def worth_repeating(error: BaseException | None) -> bool:
    """Whether the same work may well succeed at once on another connection.

    So it is when a connection of the pool turned out to be dead, and when two transactions
    collided; not when there was no connection to be had.
    """
    origin = _origin(error)
    state = getattr(origin, "sqlstate", None)
    if state in _COLLIDED or state == "25P03":
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    # psycopg hands over the connection with an error of connecting only.
    attempted = getattr(origin, "pgconn", None) is not None
    return hasattr(origin, "sqlstate") and not attempted and _is_away(origin)


def is_lock_timeout(error: BaseException | None) -> bool:
    """Whether a lock was not to be had in the time that PostgreSQL was given for it."""
    return getattr(_origin(error), "sqlstate", None) == "55P03"


def _origin(error: BaseException | None) -> BaseException | None:
    return getattr(error, "orig", None) or error


def _of_sqlite(error: sqlite3.Error, url: str) -> DatabaseError | None:
    reason = str(error)
    name = getattr(error, "sqlite_errorname", "")
    if "no such table" in reason or "no such column" in reason:
        return DatabaseNotMigrated(_NOT_MIGRATED)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        advice = "another process holds a transaction open; find it, or give ?timeout= in the URL"
        return DatabaseUnreachable(_message(url, reason, advice))
    if name.startswith("SQLITE_CANTOPEN"):
        advice = "check TASKDB_DATABASE_URL and that this user may write in the folder"
        return DatabaseUnreachable(_message(url, reason, advice))
    if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
        advice = "check the file, its permissions and the space on its disk"
        return DatabaseError(_message(url, reason, advice))
    return None


def _of_postgresql(error: object, url: str) -> DatabaseError | None:
    state = getattr(error, "sqlstate", None) or ""
    if state in _MISSING:
        return DatabaseNotMigrated(_NOT_MIGRATED)
    if _is_away(error):
        advice = "check TASKDB_DATABASE_URL and that the server runs"
        return DatabaseUnreachable(_message(url, str(error), advice))
    if state in _COLLIDED:
        return DatabaseError(_message(url, str(error), "two transactions collided; try again"))
    if state.startswith(_REFUSED):
        return DatabaseError(_message(url, str(error), "see the log of the server"))
    return None


def _is_away(error: object) -> bool:
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_AWAY)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"OperationalError", "InterfaceError"})


def _message(url: str, reason: str, advice: str) -> str:
    where = make_url(url).render_as_string(hide_password=True)
    return f"no use of the database {where} ({' '.join(reason.split())}): {advice}"
