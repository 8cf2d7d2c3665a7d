"""The database of another program, which an import reads and never writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, create_engine, event, inspect
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from taskdb.cli.usage import wrong_usage
from taskdb.errors import DatabaseUnreachable
from taskdb.model.bounds import bounded
from taskdb.store.engine.postgresql.any_moment import read_any_moment

OtherUrl = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        envvar="DJANGO_DATABASE_URL",
        help="SQLAlchemy URL of the other database; its driver must be installed.",
    ),
]


@contextmanager
def other_database(url: str, table: str) -> Iterator[tuple[Connection, frozenset[str]]]:
    """A connection to the database that has this table, and the names of its columns.

    Raises InvalidInput for a text that is not a URL, and for a database without the table;
    DatabaseUnreachable.
    """
    try:
        engine = create_engine(url, hide_parameters=True)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        # Not the URL itself, which may hold a password.
        advice = f"is not a database URL that can be used here ({type(error).__name__})"
        raise wrong_usage("URL", advice) from None
    if engine.driver == "psycopg":
        # One moment that Python cannot hold would keep all rows from being read.
        event.listen(engine, "connect", lambda connection, _: read_any_moment(connection))
    try:
        with engine.connect() as connection:
            yield connection, _columns(connection, table)
    except DBAPIError as error:
        raise DatabaseUnreachable(f"the other database does not respond: {error.orig}") from error
    finally:
        engine.dispose()


def _columns(connection: Connection, table: str) -> frozenset[str]:
    inspector = inspect(connection)
    if table not in inspector.get_table_names():
        advice = f"the database has no table {table}: is it that of the Django project?"
        raise wrong_usage("URL", advice)
    return frozenset(column["name"] for column in inspector.get_columns(table))


def moment_of(value: Any) -> datetime | None:
    """Return a moment that Django has stored, in UTC if it names no zone."""
    if value is None:
        return None
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return bounded(found if found.tzinfo is not None else found.replace(tzinfo=UTC))
