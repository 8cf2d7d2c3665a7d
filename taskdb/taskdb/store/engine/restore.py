"""Settling: sees that the history is read in its order, also after a restore."""

from __future__ import annotations

from taskdb.store.engine.cluster import LOOK, is_foreign, is_other, settle_over
from taskdb.store.engine.database import Database


def settle(database: Database) -> bool:
    """See that new events stand behind all others; returns whether the history may be read.

    Readers call it before they move a cursor. It is one statement where nothing has to change.
    False where events of another cluster are there, and a lock of another transaction keeps this
    call from acting on it: then the next call tries again. Raises DatabaseError.
    """
    if database.dialect.name != "postgresql" or database.is_joined:
        return True
    found = database.query(LOOK, {}, writes=False)
    if found and not is_foreign(found[0]) and found[0]["left_shift"] is None:
        return True
    # Without its row, as after a TRUNCATE of every table, the shift is known by the history alone.
    return database.over_transactions(settle_over) or not (found and is_other(found[0]))
