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
from taskdb.settings.location import ENCODE, check_edges
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
        check_edges(url)
    except ValueError as error:
        raise wrong_usage("URL", str(error)) from None
    try:
        # Hosters write postgres://, which SQLAlchemy does not know.
        known = f"postgresql{url[8:]}" if url.startswith("postgres:") else url
        engine = create_engine(known, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise wrong_usage("URL", f"its driver is not installed here: {error.name}") from None
    except (ArgumentError, NoSuchModuleError):
        # Not the URL itself, which may hold a password.
        advice = "is no SQLAlchemy URL: write postgresql://USER@HOST/NAME or sqlite:///FILE"
        raise wrong_usage("URL", advice) from None
    except ValueError:
        raise wrong_usage("URL", f"it cannot be read: {ENCODE}, and the port as a number") from None
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
