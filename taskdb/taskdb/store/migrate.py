"""Bringing a database to the schema of this release."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

from taskdb.errors import DatabaseUnsuitable
from taskdb.store import faults
from taskdb.store.dialects import name_of, spoken
from taskdb.store.partitions import create_partitions
from taskdb.store.revision import SCRIPTS, head, refuse_newer
from taskdb.store.tables import metadata

_LOCK_KEY = 0x7461736B6462


def migrate(url: str) -> str:
    """Bring the database at this SQLAlchemy URL to the newest schema; answer its revision.

    Several processes may call it at once: one works, the others wait and find nothing to do.
    All of it is one transaction: a migration that breaks leaves what was there. Raises
    DatabaseTooNew when a newer release has been here, DatabaseUnsuitable for one that is not in
    UTF-8, DatabaseUnreachable without an answer.
    """
    dialect, _, _ = spoken(name_of(url))
    engine = dialect.create_engine(url, pool_size=2)
    try:
        with _alone(engine), dialect.transaction(engine).begin() as connection:
            _refuse_other_encodings(connection)
            return migrate_over(connection)
    except Exception as error:
        meaning = faults.meaning(error, url)
        if meaning is None:
            raise
        raise meaning from error
    finally:
        engine.dispose()


def migrate_over(connection: Connection) -> str:
    """`migrate` in the transaction of a connection that nobody else uses; answers the revision."""
    refuse_newer(connection)
    command.upgrade(_config(connection), "head")
    if connection.dialect.name == "postgresql":
        create_partitions(connection)
    return head()


def empty(connection: Connection) -> None:
    """Delete every row of ours, in the transaction of a connection; the tables stay."""
    for table in reversed(metadata.sorted_tables):
        connection.execute(table.delete())


def _refuse_other_encodings(connection: Connection) -> None:
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        message = (
            f"the database is in {encoding}, which cannot keep every text: make it anew with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
        raise DatabaseUnsuitable(message)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Keep other migrations out: by an advisory lock, or on SQLite by a lock file beside it.

    The lock is that of a transaction: one of a session would stay in the hands of a pooler.
    """
    if engine.dialect.name == "postgresql":
        with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            yield
    else:
        file = Path(str(engine.url.database))
        with file.with_name(file.name + ".migrate").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
