"""The meaning of a driver's error for the connection, for the value, and for the next try.

Only this module classifies SQLSTATEs and codes of SQLite. The kind of an error decides three
things. Only an error of kind VALUE concerns the written value. After AWAY and STALE the process
discards its connections, since a new one may reach a server that works. After STALE, after
COLLISION and on a connection that turned out to be dead it repeats the same work at once. After
every other kind the caller waits, or raises.
"""

from __future__ import annotations

import importlib
import re
import sqlite3
from enum import StrEnum

from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from taskdb.errors import (
    DatabaseCollision,
    DatabaseError,
    DatabaseNotMigrated,
    DatabaseRefused,
    DatabaseUnreachable,
    TaskDBError,
    ValueRefused,
)
from taskdb.redaction.url_mask import mask_url
from taskdb.store.engine.tables import metadata


class Kind(StrEnum):
    """The kind of an error."""

    AWAY = "away"
    """There is no connection, or it is dead."""
    STALE = "stale"
    """The connection is alive and useless: another one may work."""
    COLLISION = "collision"
    """Two transactions collided: the same work succeeds when it is repeated."""
    REFUSED = "refused"
    """The database cannot do it now: a timeout, a full disk, a missing right."""
    SCHEMA = "schema"
    """Tables or columns of ours are missing."""
    VALUE = "value"
    """The database cannot store a value, now or later."""
    UNKNOWN = "unknown"
    """A driver's error that the tables below do not list."""


_SERVER_LOG = "see the log of the server"
_AWAY = "check TASKDB_DATABASE_URL and that the server runs"
_READ_ONLY = (
    "the server takes no writes, as a standby or by its settings: check that "
    "TASKDB_DATABASE_URL leads to the primary"
)
_PREPARED = (
    "a pooler between has lost a prepared statement: end the URL with ?prepare_threshold=none, or "
    "take a pooler that knows them"
)
_TIMEOUT = "a time limit of the server struck: see its statement_timeout and lock_timeout"
_NOT_MIGRATED = (
    "the database lacks tables or columns of this release: run `taskdb migrate`. If that finds "
    "nothing to do, an unreleased version has made the tables: name an empty database in "
    "TASKDB_DATABASE_URL, or without one move the data folder away"
)

_PREPARED_STATES = frozenset({"26000", "42P05", "08P01"})
"""An unknown or duplicate prepared statement, and one that expects other parameters."""

_STATES: dict[str, tuple[Kind, str]] = {
    # Connection failures; a server that shuts down, crashed, starts, or ended an idle session.
    "08": (Kind.AWAY, _AWAY),
    "57P": (Kind.AWAY, _AWAY),
    # No slot left for a connection.
    "53300": (Kind.AWAY, "raise max_connections, or put a pooler before the server"),
    # The server ended the transaction and its connection: it idled or ran for too long.
    "25P03": (Kind.AWAY, _AWAY),
    "25P04": (Kind.AWAY, "the transaction_timeout of the server struck"),
    **dict.fromkeys(_PREPARED_STATES, (Kind.STALE, _PREPARED)),
    # A prepared plan from before a change of the tables.
    "0A000": (Kind.STALE, _SERVER_LOG),
    "25006": (Kind.STALE, _READ_ONLY),
    "40": (Kind.COLLISION, "two transactions collided: repeat the whole transaction"),
    # The transaction may have committed.
    "40003": (Kind.AWAY, _AWAY),
    "72000": (Kind.COLLISION, "the snapshot was too old: repeat the whole transaction"),
    "55P03": (Kind.REFUSED, _TIMEOUT),
    "57014": (Kind.REFUSED, _TIMEOUT),
    "53100": (Kind.REFUSED, "the disk of the server is full"),
    "53": (Kind.REFUSED, "the server has not enough memory, disk or other resources"),
    "55": (Kind.REFUSED, _SERVER_LOG),
    "58": (Kind.REFUSED, _SERVER_LOG),
    "F0": (Kind.REFUSED, _SERVER_LOG),
    "XX": (Kind.REFUSED, _SERVER_LOG),
    "28": (Kind.REFUSED, "check the user and the password in TASKDB_DATABASE_URL"),
    "3D000": (Kind.REFUSED, "check the name of the database in TASKDB_DATABASE_URL"),
    "42501": (
        Kind.REFUSED,
        "its role lacks a right: let the owner of the tables run `taskdb grants`",
    ),
    # Undefined table, column and schema.
    "42P01": (Kind.SCHEMA, _NOT_MIGRATED),
    "42703": (Kind.SCHEMA, _NOT_MIGRATED),
    "3F000": (Kind.SCHEMA, _NOT_MIGRATED),
    # Data exceptions, program limits (an index entry or a JSON text that is too long), checks.
    "22": (Kind.VALUE, ""),
    "54": (Kind.VALUE, ""),
    "23502": (Kind.VALUE, ""),
    "23514": (Kind.VALUE, ""),
}
"""Keys are prefixes of the SQLSTATE; the longest match counts."""

_FILE = "check the file, its permissions and the space on its disk"
_LOCKED = (
    "an open transaction has written and not ended, most likely that of a session of your own code "
    "in this process: commit or roll it back first; ?timeout= in the URL waits longer for others"
)
_SQLITE: dict[str, tuple[Kind, str]] = {
    "BUSY": (Kind.AWAY, _LOCKED),
    "LOCKED": (Kind.AWAY, _LOCKED),
    "CANTOPEN": (Kind.AWAY, "check TASKDB_DATABASE_URL and that this user may write in the folder"),
    "READONLY": (Kind.STALE, _FILE),
    # The write may have reached the file, or not.
    "IOERR": (Kind.AWAY, _FILE),
    "NOTADB": (Kind.STALE, _FILE),
    "CORRUPT": (Kind.STALE, _FILE),
    "FULL": (Kind.REFUSED, "the disk is full: free some space"),
    "NOMEM": (Kind.REFUSED, "this machine has no memory left"),
    "PERM": (Kind.REFUSED, _FILE),
    "AUTH": (Kind.REFUSED, _FILE),
    "NOLFS": (Kind.REFUSED, _FILE),
    "PROTOCOL": (Kind.REFUSED, _FILE),
    "INTERRUPT": (Kind.REFUSED, "the statement was interrupted"),
    "ABORT": (Kind.COLLISION, "the statement was aborted: repeat it"),
    "SCHEMA": (Kind.COLLISION, "the tables were changed meanwhile: repeat it"),
    "TOOBIG": (Kind.VALUE, ""),
    "MISMATCH": (Kind.VALUE, ""),
    "RANGE": (Kind.VALUE, ""),
    "CONSTRAINT_CHECK": (Kind.VALUE, ""),
    "CONSTRAINT_NOTNULL": (Kind.VALUE, ""),
    "CONSTRAINT_DATATYPE": (Kind.VALUE, ""),
}
"""Keys are prefixes of the name of the code, without `SQLITE_`; the longest match counts."""

_ERRORS: dict[Kind, type[DatabaseError]] = {
    Kind.AWAY: DatabaseUnreachable,
    Kind.STALE: DatabaseRefused,
    Kind.REFUSED: DatabaseRefused,
    Kind.COLLISION: DatabaseCollision,
}
_WAITING_IN_LINE = ("SQLITE_BUSY", "SQLITE_LOCKED")
"""Codes after which the connection itself is still good."""
_OF_THE_URL = ("invalid connection option", "bad value for connect_timeout")
"""Texts of psycopg about an option of the URL; it has no other mark of them."""
_RAISED = frozenset({"exec_stmt_raise", "ExecWithCheckOptions"})
"""Server functions that raise the errors of triggers (any SQLSTATE) and of row policies."""
_OF_FUNCTIONS = ("42501", "42P01", "42703", "3F000", "XX000")
"""SQLSTATEs that do not concern our statement if a function of a user raised them."""
_CALLED = re.compile(r"\b(taskdb_\w+)\(")
"""One of our functions. A user's statement may have one of our tables before a parenthesis."""
_NO_TABLE = re.compile(r"no such table: (?:\w+\.)?(\w+)|table (\w+) has no column")
_ROW_OF_A_TRIGGER = re.compile(r"no such column: (?:NEW|OLD)\.", re.IGNORECASE)
_WRAPAROUND = frozenset({"varsup.c", "multixact.c"})
"""Source files that refuse further transaction ids, with the SQLSTATE of a value."""


def require_driver() -> None:
    """Raise DatabaseRefused unless the driver of PostgreSQL can be imported."""
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        advice = "PostgreSQL needs an extra: pip install 'celery-taskdb[postgres]'"
        raise DatabaseRefused(f"{advice} ({error})") from None


def kind_of(error: BaseException | None) -> Kind | None:
    """The kind of a driver's error, also inside one of ours; None for any other error."""
    found = _classified(error)
    return None if found is None else found[0]


def meaning(error: BaseException, url: str) -> TaskDBError | None:
    """Our error for a driver's error; None where there is none.

    An error of kind UNKNOWN stays as it is: it may concern one row.
    """
    if isinstance(error, TaskDBError):
        return None
    if isinstance(error, PoolTimeout):
        reason = "all connections of this process are in use"
        return DatabaseUnreachable(
            _message(url, reason, "raise the pool size or run fewer threads")
        )
    kind, advice = _classified(error) or (Kind.UNKNOWN, "")
    reason = reason_of(error)
    if kind is Kind.SCHEMA:
        return DatabaseNotMigrated(advice)
    if kind is Kind.VALUE:
        return ValueRefused(reason)
    wanted = _ERRORS.get(kind)
    return None if wanted is None else wanted(_message(url, reason, advice))


def origin_of(error: BaseException | None) -> BaseException | None:
    """The driver's error inside one of ours or of SQLAlchemy; else the error itself."""
    if isinstance(error, TaskDBError):
        error = error.__cause__
    return getattr(error, "orig", None) or error


def reason_of(error: BaseException | None) -> str:
    """The message of a driver's error on one line, without the row that the server adds to it."""
    origin = origin_of(error)
    primary = getattr(getattr(origin, "diag", None), "message_primary", None)
    return " ".join(str(primary or origin).split())


def worth_repeating(error: BaseException | None) -> bool:
    """Whether the same work is likely to succeed at once, on another connection.

    True when a connection of the pool turned out to be dead or useless, and when two transactions
    collided. False when no connection could be opened.
    """
    kind = kind_of(error)
    if kind in {Kind.STALE, Kind.COLLISION}:
        return True
    if isinstance(error, DBAPIError) and not isinstance(error.orig, sqlite3.Error):
        return error.connection_invalidated or _sqlstate(error).startswith("25P")
    # psycopg sets `pgconn` only on errors of connecting.
    origin = origin_of(error)
    attempted = getattr(origin, "pgconn", None) is not None
    return kind is Kind.AWAY and hasattr(origin, "sqlstate") and not attempted


def spoils_pool(error: BaseException | None) -> bool:
    """Whether this process should replace all its connections after this error."""
    name = getattr(origin_of(error), "sqlite_errorname", "") or ""
    return kind_of(error) in {Kind.AWAY, Kind.STALE} and not name.startswith(_WAITING_IN_LINE)


def lost_prepared(error: BaseException | None) -> bool:
    """Whether a pooler has lost or mixed up a prepared statement."""
    return _sqlstate(error) in _PREPARED_STATES


def is_denied(error: BaseException | None) -> bool:
    """Whether the role lacks a right."""
    return _sqlstate(error) == "42501"


def is_lock_timeout(error: BaseException | None) -> bool:
    """Whether PostgreSQL did not get a lock within `lock_timeout`."""
    return _sqlstate(error) == "55P03"


def is_of_a_function(error: BaseException | None) -> bool:
    """Whether a trigger or a row policy of a user raised it: it may concern one row.

    Such an error may have any SQLSTATE, and so any kind.
    """
    diagnostics = getattr(origin_of(error), "diag", None)
    if getattr(diagnostics, "source_function", None) in _RAISED:
        return True
    # The context names the running functions. Ours need our tables and our rights.
    context = getattr(diagnostics, "context", None) or ""
    is_ours = any(name not in metadata.tables for name in _CALLED.findall(context))
    return _sqlstate(error) in _OF_FUNCTIONS and bool(context) and not is_ours


def is_check_violation(error: BaseException | None) -> bool:
    """Whether a row breaks a check."""
    return _sqlstate(error) == "23514"


def _classified(error: BaseException | None) -> tuple[Kind, str] | None:
    origin = origin_of(error)
    if isinstance(origin, sqlite3.Error):
        return _of_sqlite(origin)
    if origin is not None and (hasattr(origin, "sqlstate") or hasattr(origin, "pgcode")):
        return _of_postgresql(origin)
    if isinstance(error, DBAPIError):
        return Kind.UNKNOWN, ""
    if isinstance(error, StatementError):
        # SQLAlchemy could not bind the parameters.
        return Kind.VALUE, ""
    return None


def _of_sqlite(error: sqlite3.Error) -> tuple[Kind, str]:
    name = (getattr(error, "sqlite_errorname", None) or "").removeprefix("SQLITE_")
    # A trigger may raise any message, with its own code.
    if name in {"", "ERROR"} and _lacks_ours(str(error)):
        return Kind.SCHEMA, _NOT_MIGRATED
    found = _longest(_SQLITE, name)
    if found is not None:
        return found
    if not name and not isinstance(error, sqlite3.OperationalError):
        # The driver refuses a parameter: a number past 64 bits, or an unknown type.
        return Kind.VALUE, ""
    return Kind.UNKNOWN, ""


def _lacks_ours(reason: str) -> bool:
    """Whether one of our tables or columns is missing, not one in a trigger of a user."""
    table = _NO_TABLE.search(reason)
    if table is not None:
        return (table[1] or table[2]) in {*metadata.tables, "taskdb_version"}
    return "no such column" in reason and _ROW_OF_A_TRIGGER.search(reason) is None


def _of_postgresql(error: BaseException) -> tuple[Kind, str]:
    state = _sqlstate(error)
    if not state:
        return _without_state(error)
    diagnostics = getattr(error, "diag", None)
    kind, advice = _longest(_STATES, state) or (Kind.UNKNOWN, "")
    if state == "54000" and getattr(diagnostics, "source_file", None) in _WRAPAROUND:
        return Kind.REFUSED, _SERVER_LOG
    if state == "23514" and getattr(diagnostics, "constraint_name", "") is None:
        # A history row has no partition for its day.
        return Kind.REFUSED, "run `taskdb migrate`, or a beat, which makes the partitions"
    return kind, advice


def _without_state(error: BaseException) -> tuple[Kind, str]:
    """Classify an error that the driver itself raised."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if any(one in str(error) for one in _OF_THE_URL):
        return Kind.AWAY, "mend this option behind the `?` of TASKDB_DATABASE_URL, or leave it out"
    if names & {"OperationalError", "InterfaceError"}:
        return Kind.AWAY, _AWAY
    if names & {"DataError", "ProgrammingError", "NotSupportedError"}:
        return Kind.VALUE, ""
    return Kind.UNKNOWN, ""


def _longest(table: dict[str, tuple[Kind, str]], code: str) -> tuple[Kind, str] | None:
    beginnings = (code[:length] for length in range(len(code), 0, -1))
    return next((table[one] for one in beginnings if one in table), None)


def is_lock_conflict(error: BaseException | None) -> bool:
    """Whether another transaction held a lock: a lock timeout or a deadlock."""
    state = getattr(origin_of(error), "sqlstate", None) or ""
    return is_lock_timeout(error) or state.startswith("40")


def _sqlstate(error: BaseException | None) -> str:
    origin = origin_of(error)
    # The driver of a caller has one name or the other.
    state = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
    return str(state or "")


def _message(url: str, reason: str, advice: str) -> str:
    return f"no use of the database {mask_url(url)} ({reason}): {advice}"
