"""Writes the oldest code for each migration into the database; `revision` reads it."""

from __future__ import annotations

from collections.abc import Iterable

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from taskdb.store.engine.migrations.revision import DECLARATION, SCRIPTS, declarations

_TABLE = (
    f"CREATE TABLE IF NOT EXISTS {DECLARATION.name}"
    " (revision TEXT NOT NULL PRIMARY KEY, oldest_code TEXT NOT NULL)"
)
_ROW = text(
    f"INSERT INTO {DECLARATION.name} (revision, oldest_code) VALUES (:revision, :oldest_code)"
)


def declare(connection: Connection, revisions: Iterable[str]) -> None:
    """Declare these migrations in the transaction of a connection; keep older declarations."""
    declared = declarations(connection)
    missing = [revision for revision in revisions if revision not in declared]
    if not missing:
        return
    connection.execute(text(_TABLE))
    scripts = ScriptDirectory(str(SCRIPTS))
    rows = [
        {"revision": revision, "oldest_code": oldest_code(scripts, revision)}
        for revision in missing
    ]
    connection.execute(_ROW, rows)


def oldest_code(scripts: ScriptDirectory, revision: str) -> str:
    """Return the oldest code that a migration declares; by default the code of its revision."""
    return str(getattr(scripts.get_revision(revision).module, "oldest_code", revision))
