"""The partitions of PostgreSQL's history: one a day, made ahead of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

PARTITIONS_AHEAD = 7
"""Days of history that have their partition before they begin."""

_LOCK_KEY = 0x7461736B6576
_COLUMNS = "id, xid, task_id, tenant, from_status, to_status, attempt, worker, at, detail"


def create_partitions(connection: Connection, days: int = PARTITIONS_AHEAD) -> list[str]:
    """Make the partitions from today to so many days ahead; answer the names of the new ones.

    Rows that came too early for their partition, and so lie in the default one, move over. Of
    several processes one works at a time, until the end of its transaction.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    today = connection.execute(text("SELECT (now() AT TIME ZONE 'UTC')::date")).scalar_one()
    start = datetime.combine(today, datetime.min.time(), UTC)
    made = []
    for day in (start + timedelta(days=ahead) for ahead in range(days + 1)):
        name = f"task_event_{day:%Y%m%d}"
        if connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is None:
            _create(connection, name, day, day + timedelta(days=1))
            made.append(name)
    return made


def empty_partitions(connection: Connection, before: datetime) -> list[str]:
    """The names of days that were over before this moment, and whose history is all gone."""
    names = connection.execute(
        text(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = to_regclass('task_event')"
            " AND relname ~ '^task_event_[0-9]{8}$' AND relname < :edge ORDER BY relname"
        ),
        {"edge": f"task_event_{before.astimezone(UTC):%Y%m%d}"},
    )
    return [name for (name,) in names if _is_empty(connection, name)]


def drop_partition(connection: Connection, name: str) -> bool:
    """Drop a day that is empty; answers whether it was.

    A drop shuts the whole history for its moment, and who waits for it stands in everyone's way:
    so it waits a fifth of a second at most. Raises then what the driver says of a lock timeout.
    """
    connection.execute(text("SET LOCAL lock_timeout = '200ms'"))
    connection.execute(text("LOCK TABLE ONLY task_event IN ACCESS EXCLUSIVE MODE"))
    is_empty = _is_empty(connection, name)
    if is_empty:
        connection.execute(text(f"DROP TABLE {name}"))
    return is_empty


def _is_empty(connection: Connection, name: str) -> bool:
    return not connection.execute(text(f"SELECT EXISTS (SELECT 1 FROM {name})")).scalar_one()


def _create(connection: Connection, name: str, start: datetime, end: datetime) -> None:
    span = {"start": start, "end": end}
    bounds = f"FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
    connection.execute(text("LOCK TABLE task_event IN SHARE ROW EXCLUSIVE MODE"))
    connection.execute(
        text(f"CREATE TABLE {name} (LIKE task_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    )
    connection.execute(
        text(
            "WITH early AS (DELETE FROM task_event_default WHERE at >= :start AND at < :end"
            f" RETURNING {_COLUMNS}) INSERT INTO {name} ({_COLUMNS}) SELECT {_COLUMNS} FROM early"
        ),
        span,
    )
    connection.execute(text(f"ALTER TABLE task_event ATTACH PARTITION {name} FOR VALUES {bounds}"))
