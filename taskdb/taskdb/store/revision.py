"""Which schema this release needs, and which one a database has.

Every process that opens a database asks this. It does without Alembic, whose import alone takes a
fifth of what a client needs to start.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from taskdb.errors import DatabaseNotMigrated, DatabaseTooNew

VERSION_TABLE = "taskdb_version"
SCRIPTS = Path(__file__).parent / "migrations"


def check(connection: Connection) -> None:
    """Raise DatabaseNotMigrated or DatabaseTooNew unless the schema is that of this release."""
    found = current(connection)
    if found == head():
        return
    refuse_newer(connection)
    state = f"at revision {found}" if found else "without our tables"
    message = f"the database is {state}, this code needs revision {head()}: run `taskdb migrate`"
    raise DatabaseNotMigrated(message)


def refuse_newer(connection: Connection) -> None:
    """Raise DatabaseTooNew when the database's revision is not one that this code knows."""
    found = current(connection)
    if found is not None and found not in known():
        message = (
            f"the database is at revision {found}, which this release (revision {head()}) does not "
            "know: upgrade celery-taskdb to the release that migrated it"
        )
        raise DatabaseTooNew(message)


def current(connection: Connection) -> str | None:
    """The revision the database is at, or None when it has never been migrated."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = table(VERSION_TABLE, column("version_num"))
    found: str | None = connection.execute(select(version.c.version_num)).scalar_one_or_none()
    return found


def head() -> str:
    """The revision that this release needs."""
    return known()[-1]


@cache
def known() -> tuple[str, ...]:
    """Every revision of this release, oldest first: the numbers before the names of its files."""
    found = sorted(file.name.partition("_")[0] for file in (SCRIPTS / "versions").glob("0*_*.py"))
    if not found:
        message = "this installation of celery-taskdb carries no migrations"
        raise RuntimeError(message)
    return tuple(found)
