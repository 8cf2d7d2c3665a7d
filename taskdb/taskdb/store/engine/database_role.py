"""The PostgreSQL role that this process connects as, and its rights on our tables."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from taskdb.store.engine.tables import metadata

_ASK = (
    "SELECT rolname, rolsuper, ARRAY(SELECT one FROM unnest(CAST(:tables AS TEXT[])) AS one"
    " WHERE NOT (has_table_privilege(one, 'INSERT') AND has_table_privilege(one, 'UPDATE')"
    " AND has_table_privilege(one, 'DELETE') AND has_any_column_privilege(one, 'SELECT')))"
    " AS missing FROM pg_roles WHERE rolname = CURRENT_USER"
)


@dataclass(frozen=True, slots=True)
class DatabaseRole:
    """A role, and those of our tables whose rows it may not write."""

    name: str
    is_superuser: bool
    unwritable: tuple[str, ...]


def database_role(connection: Connection) -> DatabaseRole | None:
    """The role of a connection to a migrated database; None on SQLite, which has no roles."""
    if connection.dialect.name != "postgresql":
        return None
    found = connection.execute(text(_ASK), {"tables": sorted(metadata.tables)}).one()
    return DatabaseRole(found.rolname, found.rolsuper, tuple(found.missing))
