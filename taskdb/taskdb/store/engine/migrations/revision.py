"""The schema revision of this release and of a database, and whether the two are compatible.

A database may be newer than the code: during a rolling upgrade the previous release works on the
schema of the next one. Each migration declares the oldest code that can work with it. The table
`taskdb_schema` has these declarations, so that a release can read those of later migrations.

Every process that opens a database runs this check. It does not use Alembic, whose import takes a
fifth of the start of a client.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from taskdb.errors import DatabaseNotMigrated, DatabaseTooNew, TableNameTaken
from taskdb.store.engine.tables import metadata

VERSION_TABLE = "taskdb_version"
DECLARATION = table("taskdb_schema", column("revision"), column("oldest_code"))
SCRIPTS = Path(__file__).parent
_OURS = re.compile(r"\d{4}")
"""A revision of this package."""
_RELATIONS = {
    "postgresql": (
        "SELECT relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace"
        " WHERE nspname = current_schema()"
    ),
    "sqlite": "SELECT name FROM sqlite_master",
}


def check(connection: Connection) -> str:
    """Return the revision of a database that this code can work on.

    Raise DatabaseNotMigrated for an older one, DatabaseTooNew for one that is too new.
    """
    found = current(connection)
    refuse_newer(connection, found)
    if found is None or found < head():
        state = f"at revision {found}" if found else "without our tables"
        message = (
            f"the database is {state}, this code needs revision {head()}: run `taskdb migrate`"
        )
        raise DatabaseNotMigrated(message)
    return found


def refuse_newer(connection: Connection, found: str | None) -> None:
    """Raise DatabaseTooNew unless this code can work with the migrations of the database.

    A migration is declared before its first step, so an unfinished one counts, too.
    """
    declared = declarations(connection)
    if found is not None and found not in known() and (found < head() or found not in declared):
        message = (
            f"the database is at revision {found}, which this release (revision {head()}) does not "
            "know: upgrade celery-taskdb to the release that migrated it"
        )
        raise DatabaseTooNew(message)
    oldest = max(declared.values(), default=head())
    if oldest > head():
        message = (
            f"the database was migrated for code of revision {oldest} or newer (it is at revision "
            f"{found}), and this release has revision {head()}: upgrade celery-taskdb to the "
            "release that migrated it, or restore a backup from before"
        )
        raise DatabaseTooNew(message)


def is_newer(found: str | None) -> bool:
    """Return whether a database at this revision is newer than this code."""
    return found is not None and found > head()


def current(connection: Connection) -> str | None:
    """Return the revision of the database, or None if it was never migrated.

    Raise TableNameTaken if the table of our revision belongs to another program.
    """
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = table(VERSION_TABLE, column("version_num"))
    try:
        found = connection.execute(select(version.c.version_num)).scalars().all()
    except (OperationalError, ProgrammingError) as error:
        if "version_num" not in str(error.orig):
            raise
        raise TableNameTaken([VERSION_TABLE], schema_of(connection)) from error
    if any(_OURS.fullmatch(str(one)) is None for one in found) or len(found) > 1:
        raise TableNameTaken([VERSION_TABLE], schema_of(connection))
    return found[0] if found else None


def refuse_taken_names(connection: Connection) -> None:
    """Raise TableNameTaken if a database without our tables has others with these names."""
    there = connection.execute(text(_RELATIONS[connection.dialect.name])).scalars()
    taken = sorted({*metadata.tables, DECLARATION.name}.intersection(there))
    if taken:
        raise TableNameTaken(taken, schema_of(connection))


def schema_of(connection: Connection) -> str:
    """Return the default schema of the connection."""
    return inspect(connection).default_schema_name or "main"


def declarations(connection: Connection) -> dict[str, str]:
    """Return the oldest code that can work with each migration, by the migration's revision."""
    if not inspect(connection).has_table(DECLARATION.name):
        return {}
    found = connection.execute(select(DECLARATION.c.revision, DECLARATION.c.oldest_code))
    return {str(revision): str(oldest) for revision, oldest in found}


def head() -> str:
    """Return the revision that this release needs."""
    return known()[-1]


@cache
def known() -> tuple[str, ...]:
    """Return every revision of this release, oldest first: the numbers in its file names."""
    found = sorted(file.name.partition("_")[0] for file in (SCRIPTS / "versions").glob("0*_*.py"))
    if not found:
        message = "this installation of celery-taskdb carries no migrations"
        raise RuntimeError(message)
    return tuple(found)
