"""The partitions of PostgreSQL's history: one for each day, created in advance.

Functions of the migrations change the tables with the rights of the owner of the schema, so the
role of a beat need not own them. No statement here waits for a lock longer than `LOCK_TIMEOUT`: a
statement that waits for a strong lock makes every other process wait behind it. The next pass tries
again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

PARTITIONS_AHEAD = 7
"""Days of history that have their partition before they begin."""
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '200ms'"
"""The longest that a statement of upkeep or of a migration may wait for a lock at a time."""
MOST_MOVED = 10_000
"""The most rows of a day that leave the default partition; a day with more stays there."""

_LOCK_KEY = 0x7461736B6576


def missing_days(connection: Connection, days: int = PARTITIONS_AHEAD) -> list[datetime]:
    """The days without a partition from today to `days` ahead, in order."""
    today = connection.execute(text("SELECT (now() AT TIME ZONE 'UTC')::date")).scalar_one()
    start = datetime.combine(today, datetime.min.time(), UTC)
    coming = [start + timedelta(days=ahead) for ahead in range(days + 1)]
    found = connection.execute(
        text(
            "SELECT day FROM unnest(CAST(:names AS TEXT[])) AS given(day)"
            " WHERE to_regclass(day) IS NULL"
        ),
        {"names": [_name(day) for day in coming]},
    )
    missing = set(found.scalars())
    return [day for day in coming if _name(day) in missing]


def create_partition(connection: Connection, day: datetime) -> str | None:
    """Create the partition of a day, in its own transaction. Returns its name.

    Rows of that day move over from the default partition. Returns None if another process has
    created it, or if more than `MOST_MOVED` rows would move. Raises the driver's error of a lock
    timeout.

    The table is created first and then attached, which locks neither the history nor the
    partitions in use. The default partition is locked before a row moves: readers see each row
    exactly once, and no row of that day can arrive in between.
    """
    connection.execute(text(LOCK_TIMEOUT))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    name, end = _name(day), day + timedelta(days=1)
    if _exists(connection, name):
        return None
    span = {"start": day, "end": end}
    if _has_too_many(connection, span):
        return None
    connection.execute(text("LOCK TABLE taskdb_event_default IN ACCESS EXCLUSIVE MODE"))
    if _has_too_many(connection, span):
        return None
    created: str = connection.execute(
        text("SELECT taskdb_create_partition(CAST(:day AS DATE))"), {"day": day.date()}
    ).scalar_one()
    return created


def empty_partitions(connection: Connection, before: datetime) -> list[str]:
    """The names of empty partitions of days that ended before this moment."""
    names = connection.execute(
        text(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = to_regclass('taskdb_event')"
            " AND relname ~ '^taskdb_event_[0-9]{8}$' AND relname < :edge ORDER BY relname"
        ),
        {"edge": f"taskdb_event_{before.astimezone(UTC):%Y%m%d}"},
    )
    return [name for (name,) in names if _is_empty(connection, name)]


def drop_partition(connection: Connection, name: str) -> bool:
    """Drop the partition of a day if it is empty. Returns whether it was.

    This locks the whole history for a moment. Raises the driver's error of a lock timeout.
    """
    connection.execute(text(LOCK_TIMEOUT))
    is_dropped: bool = connection.execute(
        text("SELECT taskdb_drop_partition(:name)"), {"name": name}
    ).scalar_one()
    return is_dropped


def _name(day: datetime) -> str:
    return f"taskdb_event_{day:%Y%m%d}"


def _exists(connection: Connection, name: str) -> bool:
    """Ask the catalog: the server remembers a name looked up before the lock as absent."""
    found = connection.scalar(
        text(
            "SELECT 1 FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = to_regclass('taskdb_event') AND relname = :name"
        ),
        {"name": name},
    )
    return found is not None


def _has_too_many(connection: Connection, span: dict[str, datetime]) -> bool:
    """Whether the default partition has more rows of a day than may move at once."""
    found = connection.scalar(
        text(
            "SELECT 1 FROM taskdb_event_default WHERE at >= :start AND at < :end OFFSET :most"
            " LIMIT 1"
        ),
        {**span, "most": MOST_MOVED},
    )
    return found is not None


def _is_empty(connection: Connection, name: str) -> bool:
    return not connection.execute(text(f"SELECT EXISTS (SELECT 1 FROM {name})")).scalar_one()
