"""Connections to a memory that a process shares (`cache=shared`), as the test suites of Django do.

There SQLite answers "table is locked" at once where it would wait at a file, so these wait in its
place. The connections of others, such as Django's, do not: so nothing is published in the
background there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

from sqlalchemy.engine import URL

_PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.005

T = TypeVar("T")


def is_shared(url: URL) -> bool:
    """Whether all connections of a process to this database have one cache."""
    return url.query.get("cache") == "shared"


class SharedConnection(sqlite3.Connection):
    """Waits for the lock of another connection, a few seconds at most, and then raises."""

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or _Cursor)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self.cursor(_Cursor).execute(sql, parameters)


class _Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        return _patiently(lambda: super(_Cursor, self).execute(sql, parameters))


def _patiently(work: Callable[[], T]) -> T:
    """Do it again while it is refused for a lock; a statement that is refused has done nothing."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            # The kinds of a code are in its higher bits.
            is_locked = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_LOCKED
            if not is_locked or time.monotonic() > until:
                raise
        time.sleep(_LOOK_SECONDS)
