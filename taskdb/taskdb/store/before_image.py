"""Whether an update answers what a row was before it, on a connection to PostgreSQL."""

from __future__ import annotations

import time
from typing import Any

SECONDS = 60.0
"""A trigger that is created meanwhile is heeded after this."""
_FIRST = 180_000
"""The first version whose updates answer it."""
_KNOWN = "taskdb.before_image"
# Of each row, before an update of it: bits 1, 2 and 16.
_TRIGGERS = (
    "SELECT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass('task')"
    " AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 19 = 19)"
)


def tells_before(pooled: Any) -> bool:
    """Whether it does, and truly: asked once a minute for each connection.

    With a trigger that runs before an update, the server waits for the lock of the row inside the
    trigger, and answers what the row was before that.
    """
    connection = pooled.driver_connection
    if connection.pgconn.server_version < _FIRST:
        return False
    now = time.monotonic()
    known, until = pooled.info.get(_KNOWN, (False, float("-inf")))
    if now >= until:
        (has_triggers,) = connection.execute(_TRIGGERS).fetchone()
        known = not has_triggers
        pooled.info[_KNOWN] = (known, now + SECONDS)
    return bool(known)
