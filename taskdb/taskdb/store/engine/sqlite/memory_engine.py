"""Engines on databases in memory, of which a test suite makes one after another.

An engine has its own cache of compiled statements. Each new engine would spend more time on
compilation than on the statements, so these engines share one cache.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Dialect, create_engine
from sqlalchemy.engine import URL, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import QueuePool

MEMORY = "memdb"
"""The name of SQLite's file system in memory, as the `vfs` of a URL."""


def is_in_memory(url: URL) -> bool:
    """Whether a database is in SQLite's file system in memory."""
    return url.query.get("vfs") == MEMORY


def memory_engine(url: URL, pool_size: int) -> Engine:
    """An engine on a database in memory."""
    dialect, compiled = _shared()
    arguments, keywords = dialect.create_connect_args(url)

    def connect() -> DBAPIConnection:
        return dialect.connect(*arguments, **{**keywords, "check_same_thread": False})

    pool = QueuePool(connect, pool_size=pool_size, dialect=dialect)
    options = {"compiled_cache": compiled}
    return Engine(pool, dialect, url, hide_parameters=True, execution_options=options)


@cache
def _shared() -> tuple[Dialect, dict[Any, Any]]:
    """The shared dialect, initialized by a connection, and the shared cache."""
    first = create_engine("sqlite:///file:/taskdb?vfs=memdb&uri=true")
    first.connect().close()
    first.dispose()
    return first.dialect, {}
