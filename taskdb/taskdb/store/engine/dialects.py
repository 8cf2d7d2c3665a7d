"""The dialect of a database."""

from __future__ import annotations

from functools import cache

from taskdb.store.engine.dialect import StoreDialect
from taskdb.store.engine.postgresql.postgresql import PostgreSQL
from taskdb.store.engine.sqlite.sqlite import SQLite


def name_of(url: str) -> str:
    """The name of the dialect of a URL."""
    return "postgresql" if url.startswith("postgresql") else "sqlite"


@cache
def spoken(name: str, *, bound_clock: bool = False) -> StoreDialect:
    """The dialect with this name."""
    if name == "postgresql":
        return PostgreSQL(bound_clock=bound_clock)
    return SQLite(bound_clock=bound_clock)
