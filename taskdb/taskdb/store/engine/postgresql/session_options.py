"""The settings of a new connection, independent of those of its role or database."""

from __future__ import annotations

import secrets
from typing import Any

from taskdb.store.engine.postgresql.before_image import HAS_TRIGGERS, note_triggers

BEGINS = "taskdb.begins"
"""Marks a connection behind a pooler: each transaction sets its isolation level."""
_PIN = (
    # A pooler carries these two settings over to the next server connection.
    "SELECT set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, MDY', false),"
    # It does not carry these over: the next user of the server session would inherit them.
    " CASE WHEN pg_backend_pid() = %(pid)s THEN set_config('extra_float_digits', '1', false) END,"
    " CASE WHEN pg_backend_pid() = %(pid)s"
    " THEN set_config('default_transaction_isolation', 'read committed', false)"
    f" ELSE current_setting('default_transaction_isolation') END, {HAS_TRIGGERS}"
)
"""Fixes the settings that our reading depends on, against those of the role or the database."""


def pin(connection: Any, record: Any) -> None:
    """Make a new connection independent of session settings of its role or database."""
    given = {"pid": connection.info.backend_pid}
    (*_, isolation, has_triggers) = connection.execute(_PIN, given).fetchone()
    note_triggers(record.info, has_triggers=has_triggers)
    if isolation != "read committed":
        record.info[BEGINS] = True
    # Names of prepared statements differ between connections: a pooler that mixes connections up
    # could otherwise run another one's statement.
    connection._prepared._prepared_idx = secrets.randbits(48)  # noqa: SLF001 - psycopg has no setting for it
