"""Checks whether the database has the schema of this release. Changes nothing."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import make_url

from taskdb.errors import DatabaseNotMigrated
from taskdb.settings.settings import Settings
from taskdb.store.engine.migrations import revision
from taskdb.store.store import Store


def require_schema(settings: Settings) -> str:
    """Return the revision of a database that this code can work on.

    Raise DatabaseNotMigrated, DatabaseTooNew or DatabaseUnreachable for any other.
    """
    file = sqlite_file(settings)
    if file is not None and not file.exists():
        raise DatabaseNotMigrated(f"there is no {file} yet: run `taskdb migrate`")
    store = Store(settings.store_url)
    with store.closing():
        return store.database.read(revision.check)


def sqlite_file(settings: Settings) -> Path | None:
    """The file of an SQLite database; None for a server or a database in memory."""
    url = make_url(settings.store_url)
    in_memory = url.database in {None, "", ":memory:"}
    return None if url.get_backend_name() != "sqlite" or in_memory else Path(str(url.database))
