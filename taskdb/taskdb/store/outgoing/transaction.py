"""Transactions of several statements, with the time by the store's clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from taskdb.store.engine.database import Database
from taskdb.store.engine.session import JoinedSession, Row
from taskdb.store.engine.types import moment
from taskdb.store.task.statements import queries_of

QUERIES = "outgoing/queries"
"""The file with the statements of alarms and subscriptions."""


@contextmanager
def changing(database: Database) -> Iterator[tuple[Connection, datetime]]:
    """Begin a transaction; yields it and the time by the store's clock."""
    with database.transaction() as connection:
        yield connection, moment(ask(database, connection, "now")[0]["now"])


def ask(database: Database, connection: Connection, query: str, **given: Any) -> list[Row]:
    """Run a query of `QUERIES` in a transaction."""
    sql = getattr(queries_of(database.dialect, QUERIES), query)
    return database.dialect.query(JoinedSession(connection), sql, database.parameters(given))
