"""The order of the history: the xids that an event may have."""

from __future__ import annotations

NO_XID = 2**60
"""No transaction has this number, and no restore reaches it."""
OLDEST_OPEN = (
    "(CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)"
    " + (SELECT shift FROM taskdb_history_cluster))"
)
"""On PostgreSQL the xid of the oldest open transaction. Every event before it can be read."""


def has_order(dialect: str, column: str) -> str:
    """SQL: the database itself has set the xid of an event.

    An xid that was written by hand may be higher than all later ones. A cursor that passed it would
    miss every later event.
    """
    return f"{column} < {NO_XID}" if dialect == "postgresql" else f"{column} = 0"
