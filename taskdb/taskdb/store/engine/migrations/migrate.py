"""Migrates a database to the schema of this release."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from taskdb.errors import DatabaseRefused, DatabaseUnsuitable
from taskdb.logger import get_logger
from taskdb.private_path import open_file
from taskdb.store.engine import faults
from taskdb.store.engine.cluster import settle_over
from taskdb.store.engine.dialects import name_of, spoken
from taskdb.store.engine.migrations.declaration import declare
from taskdb.store.engine.migrations.revision import (
    SCRIPTS,
    check,
    current,
    head,
    is_newer,
    known,
    refuse_newer,
    refuse_taken_names,
)
from taskdb.store.engine.migrations.steps import SteppedConnection
from taskdb.store.engine.migrations.validation import validate_checks
from taskdb.store.engine.postgresql.partitions import create_partition, missing_days
from taskdb.store.engine.tables import alarm_cursor, history_cluster, metadata

log = get_logger("taskdb.migrate")

_LOCK_KEY = 0x7461736B6462
_ASK_SECONDS = 0.2
_DENIED = (
    "the role of TASKDB_DATABASE_URL may not create or change tables here: run `taskdb migrate` as "
    "the role that owns them, or let an administrator GRANT USAGE, CREATE ON SCHEMA … TO this role"
)


def migrate(url: str) -> str:
    """Migrate the database at this SQLAlchemy URL to the newest schema. Returns its revision.

    Several processes may call it at once: one works, the others wait and find nothing to do.
    A database without our tables gets them in one transaction. A PostgreSQL database with our
    tables is migrated step by step while other processes use it. No step makes them wait for longer
    than a fifth of a second at a time, and the next call continues after an interruption.
    A newer database that this code can work on stays as it is.
    Raises DatabaseTooNew for a newer one that it cannot work on, DatabaseUnsuitable for one not in
    UTF-8, TableNameTaken if other tables have our names, and DatabaseUnreachable.
    """
    dialect = spoken(name_of(url))
    engine = dialect.create_engine(url, pool_size=2)
    try:
        with _alone(engine):
            with dialect.transaction(engine).begin() as connection:
                _refuse_other_encodings(connection)
                found = current(connection)
                is_stepped = found is not None and engine.dialect.name == "postgresql"
                if is_stepped:
                    refuse_newer(connection, found)
                else:
                    migrate_over(connection)
            if found is not None and is_stepped and not is_newer(found):
                _migrate_beside_others(engine, found)
            if engine.dialect.name == "postgresql":
                _create_partitions(engine.execution_options(isolation_level="READ COMMITTED"))
                validate_checks(engine)
                # Record the cluster in which the history begins or continues.
                settle_over(dialect.transaction(engine))
            with engine.connect() as connection:
                return check(connection)
    except Exception as error:
        meaning = faults.meaning(error, url)
        if meaning is None:
            raise
        if faults.is_denied(error):
            raise DatabaseRefused(f"{_DENIED} ({faults.reason_of(error)})") from error
        raise meaning from error
    finally:
        engine.dispose()


def migrate_over(connection: Connection) -> str:
    """Migrate in the transaction of a connection without other users. Returns the revision."""
    found = current(connection)
    if found is None:
        refuse_taken_names(connection)
    refuse_newer(connection, found)
    if found is None or found < head():
        command.upgrade(_config(connection), "head")
    if not is_newer(found):
        declare(connection, known())
    return check(connection)


def _migrate_beside_others(engine: Engine, found: str) -> None:
    """Migrate a database that other processes use."""
    transactions = engine.execution_options(isolation_level="READ COMMITTED")
    with transactions.begin() as connection:
        declare(connection, known()[: known().index(found) + 1])
    stepped = SteppedConnection(engine)
    with stepped:
        for revision in known()[known().index(found) + 1 :]:
            # Declared before its first step: from then on code that is too old must not start.
            with transactions.begin() as connection:
                declare(connection, [revision])
            stepped.begin_steps(revision)
            command.upgrade(_config(stepped), revision)
        stepped.end_steps(head())


def _create_partitions(engine: Engine) -> None:
    with engine.begin() as connection:
        days = missing_days(connection)
    for day in days:
        try:
            with engine.begin() as connection:
                create_partition(connection, day)
        except DBAPIError as error:
            if not faults.is_lock_conflict(error):
                raise
            # The upkeep of a beat creates the missing partitions.
            log.info("partition.postponed", day=f"{day:%Y-%m-%d}")
            return


def empty(connection: Connection) -> None:
    """Delete all our rows in the transaction of a connection; the tables stay.

    Rows that a migration creates stay, too. The default of a column of the history has the same
    number as the row of the cluster. Without the cursors of the alarms no alarm is raised.
    """
    for table in reversed(metadata.sorted_tables):
        if table not in (history_cluster, alarm_cursor):
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
    """Exclude other migrations, by an advisory lock or on SQLite by a lock file.

    The lock belongs to a transaction: a pooler would keep one of a session. A waiting process polls
    instead of blocking, since the build of an index waits for blocked statements.
    """
    if engine.dialect.name == "postgresql":
        with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
            # With parameters the server would keep a snapshot until the next statement.
            taken = f"SELECT pg_try_advisory_xact_lock({_LOCK_KEY})"
            while not connection.exec_driver_sql(taken).scalar_one():
                time.sleep(_ASK_SECONDS)
            yield
    else:
        file = Path(str(engine.url.database))
        handle = open_file(file.with_name(file.name + ".migrate"), os.O_CREAT | os.O_WRONLY)
        with os.fdopen(handle, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
