"""Databases in memory: each is fresh, migrated, and shared by every connection to its address.

SQLite's own file system in memory (`vfs=memdb`) holds them. It is shared by a whole process and
locks as a file does, so that threads, and engines of the application's own on the same address,
see one database. It is there for as long as a connection to it is open: one is held.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

from taskdb.errors import SettingsError
from taskdb.fork import RenewedLock
from taskdb.store.engine.migrations.migrate import migrate

BUSY_SECONDS = 5
"""How long one connection waits for the transaction of another, which is often the same test's."""
_OLDEST = (3, 36)
_copying = RenewedLock()


@contextmanager
def memory_database() -> Iterator[str]:
    """A fresh, migrated database in memory; answers its SQLAlchemy URL, and ends with the block.

    Any number of connections of this process share it; another process, and a forked one, sees
    nothing of it. Raises SettingsError where SQLite is older than 3.36.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        message = (
            f"SQLite {sqlite3.sqlite_version} shares no database in memory, 3.36 does: use a file"
        )
        raise SettingsError(message)
    name = f"/taskdb-{uuid4().hex}"
    anchor = sqlite3.connect(f"file:{name}?vfs=memdb", uri=True, check_same_thread=False)
    with closing(anchor):
        with _copying:
            _template().backup(anchor)
        yield f"sqlite:///file:{name}?vfs=memdb&uri=true&timeout={BUSY_SECONDS}"


@cache
def _template() -> sqlite3.Connection:
    """A migrated database; to copy its pages takes a hundredth of migrating another one."""
    template = sqlite3.connect(":memory:", check_same_thread=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "template.sqlite3"
        migrate(f"sqlite:///{file}")
        with closing(sqlite3.connect(file)) as migrated:
            # There is no write-ahead log in memory, and a copy would ask for one.
            migrated.execute("PRAGMA journal_mode = DELETE")
            migrated.backup(template)
    return template
