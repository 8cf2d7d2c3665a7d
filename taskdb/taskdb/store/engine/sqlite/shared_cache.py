"""Connections to shared memory (`cache=shared`), which the test suites of Django use.

There SQLite raises "table is locked" at once, while on a file it would wait. So these connections
wait themselves. Other connections, such as Django's, do not wait: so nothing is published in the
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
    """Waits for another connection's lock, at most 5 seconds, and then raises."""

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or _Cursor)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self.cursor(_Cursor).execute(sql, parameters)


class _Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        return _patiently(lambda: super(_Cursor, self).execute(sql, parameters))


def _patiently(work: Callable[[], T]) -> T:
    """Repeat the work while a lock refuses it; a refused statement has changed nothing."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            # The low byte is the primary code.
            is_locked = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_LOCKED
            if not is_locked or time.monotonic() > until:
                raise
        time.sleep(_LOOK_SECONDS)
