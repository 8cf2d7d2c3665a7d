"""Whether an update answers what a row was before it, on a connection to PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

SECONDS = 60.0
"""A trigger that is created meanwhile is heeded after this."""
_FIRST = 180_000
"""The first version whose updates answer it."""
_KNOWN = "taskdb.before_image"
# Of each row, before an update of it: bits 1, 2 and 16.
HAS_TRIGGERS = (
    "EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass('taskdb_task')"
    " AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 19 = 19)"
)


def tells_before(pooled: Any) -> bool:
    """Whether it does, and truly: asked with each new connection, and again after a minute.

    With a trigger that runs before an update, the server waits for the lock of the row inside the
    trigger, and answers what the row was before that.
    """
    connection = pooled.driver_connection
    if connection.pgconn.server_version < _FIRST:
        return False
    now = time.monotonic()
    known, until = pooled.info.get(_KNOWN, (False, float("-inf")))
    if now >= until:
        (has_triggers,) = connection.execute(f"SELECT {HAS_TRIGGERS}").fetchone()
        note_triggers(pooled.info, has_triggers=has_triggers)
        known = not has_triggers
    return bool(known)


def note_triggers(info: MutableMapping[str, Any], *, has_triggers: bool) -> None:
    """Remember of a connection whether the table has such triggers."""
    info[_KNOWN] = (not has_triggers, time.monotonic() + SECONDS)
