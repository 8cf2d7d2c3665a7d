"""Which dialect a database speaks."""

from __future__ import annotations

from functools import cache

from taskdb.store.dialect import StoreDialect
from taskdb.store.moves import Moves, moves_for
from taskdb.store.postgresql import PostgreSQL
from taskdb.store.queries import Queries, queries_for
from taskdb.store.sqlite import SQLite


def name_of(url: str) -> str:
    """The dialect of a URL."""
    return "postgresql" if url.startswith("postgresql") else "sqlite"


@cache
def spoken(name: str, *, bound_clock: bool = False) -> tuple[StoreDialect, Moves, Queries]:
    """The dialect of this name with every statement written in it."""
    dialect: StoreDialect = (
        PostgreSQL(bound_clock=bound_clock)
        if name == "postgresql"
        else SQLite(bound_clock=bound_clock)
    )
    return dialect, moves_for(dialect), queries_for(dialect)
