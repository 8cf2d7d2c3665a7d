"""Settling: keeps the history in its order, also after a restore."""

from __future__ import annotations

from taskdb.store.engine.cluster import LOOK, is_foreign, is_other, settle_over
from taskdb.store.engine.database import Database


def settle(database: Database) -> bool:
    """Order new events after all others. Returns whether the history may be read.

    Readers call it before they move a cursor. It runs one statement if nothing has to change.
    Returns False if there are events of another cluster and another transaction's lock prevents
    the change; the next call tries again. Raises DatabaseError.
    """
    if database.dialect.name != "postgresql" or database.is_joined:
        return True
    found = database.query(LOOK, {}, writes=False)
    if found and not is_foreign(found[0]) and found[0]["left_shift"] is None:
        return True
    # After a TRUNCATE of every table the row is missing, and only the history shows the shift.
    return database.over_transactions(settle_over) or not (found and is_other(found[0]))
