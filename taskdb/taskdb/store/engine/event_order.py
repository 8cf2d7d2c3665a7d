"""The order of the history: which xids an event may have."""

from __future__ import annotations

NO_XID = 2**60
"""No transaction has this number, and no restore comes to it."""


def has_order(dialect: str, column: str) -> str:
    """The xid of an event is one that the database has given.

    One that was written by hand may stand behind all events that ever come: a cursor that passed it
    would pass none of those.
    """
    return f"{column} < {NO_XID}" if dialect == "postgresql" else f"{column} = 0"
