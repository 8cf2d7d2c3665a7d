"""The whole first schema: one file a noun in `first`, in a folder for each database."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from alembic import op
from sqlalchemy import Connection

revision = "0001"
down_revision = None
oldest_code = "0001"

FOLDER = Path(__file__).parents[1] / "first"
NOUNS = (
    *("task", "event", "worker", "limit", "schedule"),
    *("alarm", "delivery", "subscription", "upkeep"),
)


def upgrade() -> None:
    connection = op.get_bind()
    dialect = connection.dialect.name
    for noun in NOUNS:
        script = (FOLDER / dialect / f"{noun}.sql").read_text("utf-8")
        if dialect == "postgresql":
            _execute(connection, script.replace("{schema}", _schema(connection)))
        else:
            for statement in _statements(script):
                _execute(connection, statement)


def _schema(connection: Connection) -> str:
    """The schema of new tables, quoted for SQL."""
    found: str = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    return found


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script: SQLite's driver takes one at a time."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _execute(connection: Connection, script: str) -> None:
    # Without parameters the driver ignores percent signs, and takes many statements at once.
    connection.exec_driver_sql(script, execution_options={"no_parameters": True})
