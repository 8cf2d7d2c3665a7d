"""The order of the history on PostgreSQL: the xids that an event may have."""

from __future__ import annotations

NO_XID = 2**60
"""No transaction has this number, and no restore reaches it."""
OLDEST_OPEN = (
    "(CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)"
    " + (SELECT shift FROM taskdb_history_cluster))"
)
"""The xid of the oldest open transaction. Every event before it can be read."""
