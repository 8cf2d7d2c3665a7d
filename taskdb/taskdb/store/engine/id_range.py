"""Rows by a range of their ids."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import and_, or_, select

from taskdb.store.engine.database import Database
from taskdb.store.engine.tables import metadata


def ids_within(
    database: Database,
    table_name: str,
    ranges: Sequence[tuple[str, str]],
    tenants: Collection[str] | None,
    *,
    unless_named: str | None = None,
    limit: int,
) -> list[str]:
    """Return at most `limit` ids of these ranges and tenants (None: of all), in order.

    No id where a row is named `unless_named`: a name has precedence.
    """
    table = metadata.tables[table_name]
    place = or_(*(and_(table.c.id >= first, table.c.id <= last) for first, last in ranges))
    if unless_named is not None:
        named = select(table.c.id).where(table.c.name == unless_named).exists()
        place = and_(place, ~named)
    statement = select(table.c.id).where(place).order_by(table.c.id).limit(limit)
    if tenants is not None:
        statement = statement.where(table.c.tenant.in_(tenants))
    return database.read(lambda one: [str(found) for found in one.execute(statement).scalars()])
