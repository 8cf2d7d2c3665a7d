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
