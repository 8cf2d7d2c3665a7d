"""Databases in memory: each is new, migrated, and shared by every connection to its address.

SQLite's own file system in memory (`vfs=memdb`) holds them. The whole process shares it, and it
locks as a file does. So threads, and the application's own engines on the same address, see
one database. It exists while a connection to it is open, so this module keeps one open.
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
"""How long a connection waits for another's transaction, which often is of the same test."""
_OLDEST = (3, 36)
_copying = RenewedLock()


@contextmanager
def memory_database() -> Iterator[str]:
    """Yield the SQLAlchemy URL of a new, migrated database in memory, until the block ends.

    All connections of this process share it; another process, or a forked one, does not see
    it. Raises SettingsError if SQLite is older than 3.36.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise SettingsError(
            f"SQLite {sqlite3.sqlite_version} shares no database in memory, 3.36 does: use a file"
        )
    name = f"/taskdb-{uuid4().hex}"
    anchor = sqlite3.connect(f"file:{name}?vfs=memdb", uri=True, check_same_thread=False)
    with closing(anchor):
        with _copying:
            _template().backup(anchor)
        yield f"sqlite:///file:{name}?vfs=memdb&uri=true&timeout={BUSY_SECONDS}"


@cache
def _template() -> sqlite3.Connection:
    """Return a migrated database; copying it takes a hundredth of the time of a migration."""
    template = sqlite3.connect(":memory:", check_same_thread=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "template.sqlite3"
        migrate(f"sqlite:///{file}")
        with closing(sqlite3.connect(file)) as migrated:
            # There is no write-ahead log in memory, but a copied database in WAL mode needs one.
            migrated.execute("PRAGMA journal_mode = DELETE")
            migrated.backup(template)
    return template
