"""Bringing a database to the schema of this release, and saying whether it is there."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from taskdb.errors import DatabaseNotMigrated, DatabaseTooNew
from taskdb.store import faults
from taskdb.store.dialects import name_of, spoken
from taskdb.store.partitions import create_partitions

VERSION_TABLE = "taskdb_version"
_LOCK_KEY = 0x7461736B6462
_SCRIPTS = Path(__file__).parent / "migrations"


def migrate(url: str) -> str:
    """Bring the database at this SQLAlchemy URL to the newest schema; answer its revision.

    Several processes may call it at once: one works, the others wait and find nothing to do.
    All of it is one transaction: a migration that breaks leaves what was there. Raises
    DatabaseTooNew when a newer release has been here, DatabaseUnreachable without an answer.
    """
    dialect, _, _ = spoken(name_of(url))
    engine = dialect.create_engine(url, pool_size=2)
    try:
        with _alone(engine), dialect.transaction(engine).begin() as connection:
            refuse_newer(connection)
            command.upgrade(_config(connection), "head")
            if connection.dialect.name == "postgresql":
                create_partitions(connection)
            return head()
    except Exception as error:
        meaning = faults.meaning(error, url)
        if meaning is None:
            raise
        raise meaning from error
    finally:
        engine.dispose()


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
    known = {script.revision for script in _scripts().walk_revisions()}
    if found is not None and found not in known:
        message = (
            f"the database is at revision {found}, which this release (revision {head()}) does not "
            "know: upgrade celery-taskdb to the release that migrated it"
        )
        raise DatabaseTooNew(message)


def current(connection: Connection) -> str | None:
    """The revision the database is at, or None when it has never been migrated."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def head() -> str:
    """The revision that this release needs."""
    revision = _scripts().get_current_head()
    if revision is None:
        message = "this installation of celery-taskdb carries no migrations"
        raise RuntimeError(message)
    return revision


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_SCRIPTS))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Keep other migrations out: by an advisory lock, or on SQLite by a lock file beside it."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
            yield
    else:
        file = Path(str(engine.url.database))
        with file.with_name(file.name + ".migrate").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
