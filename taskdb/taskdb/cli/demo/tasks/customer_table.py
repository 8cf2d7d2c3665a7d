"""The table of imported customers, in SQLite or PostgreSQL."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, create_engine, text

URL_VARIABLE = "CUSTOMERS_URL"
"""The environment variable of the worker that names the database where the input names no file:
a URL may hold a password, and a password must not stand in a task."""

_METADATA = MetaData()
CUSTOMER = Table(
    "customer",
    _METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    *(Column(name, Text) for name in ("name", "email", "country", "signed_up_on", "balance")),
)

_KEEP = text(
    "INSERT INTO customer (id, name, email, country, signed_up_on, balance)"
    " VALUES (:id, :name, :email, :country, :signed_up_on, :balance) ON CONFLICT (id) DO UPDATE"
    " SET name = excluded.name, email = excluded.email, country = excluded.country,"
    " signed_up_on = excluded.signed_up_on, balance = excluded.balance"
)


@contextmanager
def customer_database(file: Path | None) -> Iterator[Connection]:
    """Open a connection to the SQLite file or `CUSTOMERS_URL`, and create a missing table."""
    if file is None:
        engine = create_engine(os.environ[URL_VARIABLE])
    else:
        # Parts write to one file at the same time: each waits for its turn.
        engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": 60})
    try:
        _METADATA.create_all(engine)
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def keep(connection: Connection, customers: Iterable[BaseModel]) -> None:
    """Insert or update all of these customers, or none. A second call changes nothing."""
    rows = [one.model_dump(mode="json") for one in customers]
    if not rows:
        return
    connection.execute(_KEEP, rows)
    connection.commit()
