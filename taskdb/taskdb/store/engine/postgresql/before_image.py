"""Whether an update can return the values of a row before it, on a PostgreSQL connection."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

SECONDS = 60.0
"""The time after which a connection notices a new trigger."""
_FIRST = 180_000
"""The first server version whose updates return it."""
_KNOWN = "taskdb.before_image"
# Triggers for each row (1), before (2) an update (16).
HAS_TRIGGERS = (
    "EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass('taskdb_task')"
    " AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 19 = 19)"
)


def tells_before(pooled: Any) -> bool:
    """Whether it does, and correctly: checked for each new connection and again each minute.

    With a trigger before updates, the server waits for the row's lock inside the trigger and
    returns the values from before that wait.
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
    """Record for a connection whether the table has such triggers."""
    info[_KNOWN] = (not has_triggers, time.monotonic() + SECONDS)
