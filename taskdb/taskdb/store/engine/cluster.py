"""The PostgreSQL cluster whose transaction ids order the history.

Readers of the history follow (xid, id). A transaction id means nothing in another cluster, so the
xid of an event is the id of its transaction plus a *shift* that the database stores. After a
restore into another cluster, or to an older point in time, the shift grows. Each new event then
comes after every older event and every cursor, so no cursor has to be rewritten.

Events that the new cluster wrote before the shift grew lie among the restored ones. Their row's own
transaction id identifies them; they move to the end.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from taskdb.logger import get_logger
from taskdb.store.engine import faults
from taskdb.store.engine.event_order import NO_XID
from taskdb.store.engine.postgresql.partitions import LOCK_TIMEOUT
from taskdb.store.engine.session import Row

log = get_logger("taskdb.upkeep")

LEAP = 2**40
"""More transactions than a restore to an older point in time can undo: an outside reader may hold
a cursor from the lost time."""

_LOCK_KEY = 0x7461736B7873
_NEXT = "CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS TEXT) AS BIGINT)"
_OWN = "CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)"
_NEWEST = (
    f"SELECT {{column}} FROM taskdb_event WHERE xid < {NO_XID} ORDER BY xid DESC, id DESC LIMIT 1"
)
# A place that this cluster has not reached: its event or cursor comes from another cluster.
LOOK = (
    "SELECT c.identity, taskdb_cluster_identity() AS found, c.shift, c.left_shift,"
    f" {_NEXT} AS next, furthest.xid AS furthest FROM taskdb_history_cluster AS c, LATERAL"
    f" (SELECT max(xid) AS xid FROM (SELECT ({_NEWEST.format(column='xid')}) AS xid"
    " UNION ALL SELECT max(cursor_xid) FROM taskdb_subscription"
    " UNION ALL SELECT max(xid) FROM taskdb_alarm_cursor"
    " UNION ALL SELECT max(xid) FROM taskdb_reporter) AS place"
    f" WHERE xid < {NO_XID}) AS furthest"
)
# The row is missing after a TRUNCATE of every table; the column's default has its shift.
_REMEMBER = (
    "INSERT INTO taskdb_history_cluster (id, shift) SELECT 1, COALESCE(CAST(substring("
    "pg_get_expr(d.adbin, d.adrelid) FROM '\\+ .?([0-9]+)') AS BIGINT), 0)"
    " FROM pg_attrdef AS d JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum"
    " WHERE d.adrelid = to_regclass('taskdb_event') AND a.attname = 'xid' ON CONFLICT DO NOTHING"
)
_IDENTITY = (
    "SELECT 1 FROM taskdb_history_cluster WHERE identity IS DISTINCT FROM taskdb_cluster_identity()"
)
# The last write to the restored database, as far as events and cursors ahead show it.
_LEFT_AT = (
    "SELECT GREATEST("
    f"(SELECT at FROM ({_NEWEST.format(column='xid, at')}) AS newest WHERE xid >= :edge),"
    " (SELECT max(cursor_at) FROM taskdb_subscription WHERE cursor_xid >= :edge),"
    " (SELECT max(moved_at) FROM taskdb_alarm_cursor WHERE xid >= :edge)) AS left_at"
)
# The last restored event: another transaction than that of its xid wrote its row.
_RESTORED = (
    "SELECT xid, at FROM taskdb_event WHERE"
    " CAST(CAST(xmin AS TEXT) AS BIGINT) <> ((xid - :shift) & 4294967295)"
    " ORDER BY xid DESC, id DESC LIMIT 1"
)
# A transaction that wrote restored rows wrote rows with several xids.
_MOVE_LATE = (
    "WITH native AS (SELECT xmin AS writer FROM taskdb_event WHERE at > :since GROUP BY xmin"
    " HAVING bool_and(CAST(CAST(xmin AS TEXT) AS BIGINT) = ((xid - :shift) & 4294967295)))"
    f" UPDATE taskdb_event SET xid = {_OWN} + (SELECT shift FROM taskdb_history_cluster)"
    " WHERE at > :since AND xid < :edge AND xmin IN (SELECT writer FROM native)"
)


def is_other_cluster(connection: Connection) -> bool:
    """Whether the database was last used in another cluster."""
    if connection.dialect.name != "postgresql":
        return False
    return connection.execute(text(_IDENTITY)).first() is not None


def is_foreign(found: Row) -> bool:
    """Whether the row of `LOOK` shows another cluster, or one that is not recorded yet."""
    return is_ahead(found) or found["found"] not in (None, found["identity"])


def is_other(found: Row) -> bool:
    """Whether the history comes from another cluster, with its own counter."""
    return is_ahead(found) or (
        None not in (found["found"], found["identity"])
        and found["found"].partition("/")[0] != found["identity"].partition("/")[0]
    )


def is_ahead(found: Row) -> bool:
    """Whether an event or a cursor is ahead of this cluster's counter."""
    return found["furthest"] is not None and found["furthest"] >= found["next"] + found["shift"]


def settle_over(transactions: Engine) -> bool:
    """Order new events after all others; False where another transaction's lock prevents it.

    Raises the driver's error if the role may not alter the history.
    """
    try:
        with transactions.begin() as connection:
            _shift(connection)
        with transactions.begin() as connection:
            _move_late_events(connection)
    except DBAPIError as error:
        if not faults.is_lock_conflict(error):
            raise
        log.warning("history.shift_failed", reason="another transaction holds the history open")
        return False
    return True


def _shift(connection: Connection) -> None:
    connection.execute(text(LOCK_TIMEOUT))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    connection.execute(text(_REMEMBER))
    found = _look(connection)
    if found["identity"] is None and not is_ahead(found):
        # The history began in this cluster.
        connection.execute(text(_WRITE), {**_SAME, "identity": found["found"]})
        return
    if not is_foreign(found):
        return
    # With this lock no other transaction that writes events is open, so none has the old shift.
    connection.execute(text("LOCK TABLE ONLY taskdb_event IN ACCESS EXCLUSIVE MODE"))
    found = _look(connection)
    shift = max(found["furthest"] - found["next"], found["shift"]) + LEAP
    connection.execute(text("SELECT taskdb_shift_history(:shift)"), {"shift": shift})
    # Logical replication copies rows, and not the publisher's sequence.
    connection.execute(text(_KEEP_COUNTING))
    given = {**_SAME, "identity": found["found"], "shift": shift}
    if is_other(found):
        given |= _late(connection, found)
    connection.execute(text(_WRITE), given)
    log.warning("history.shifted", identity=found["found"], shift=shift)


def _late(connection: Connection, found: Row) -> dict[str, Any]:
    """Bounds of the events of this cluster that come before restored ones."""
    if is_ahead(found):
        edge = found["next"] + found["shift"]
        since = connection.scalar(text(_LEFT_AT), {"edge": edge})
        return {"left": found["shift"], "before": edge, "since": since}
    # The counter has passed the restored events by now, but perhaps not at its first event.
    last = connection.execute(text(_RESTORED), {"shift": found["shift"]}).first()
    if last is None:
        return {}
    return {"left": found["shift"], "before": last.xid, "since": last.at}


def _look(connection: Connection) -> dict[str, Any]:
    return dict(connection.execute(text(LOOK)).mappings().one())


_KEEP_COUNTING = (
    "SELECT setval(name, newest) FROM (SELECT pg_get_serial_sequence('taskdb_event', 'id') AS name,"
    " (SELECT id FROM taskdb_event ORDER BY id DESC LIMIT 1) AS newest) AS one"
    " WHERE newest > COALESCE(pg_sequence_last_value(name::regclass), 0)"
)
_SAME: dict[str, Any] = {"shift": None, "left": None, "before": None, "since": None}
_WRITE = (
    "UPDATE taskdb_history_cluster SET identity = COALESCE(CAST(:identity AS TEXT), identity),"
    " shift = COALESCE(CAST(:shift AS BIGINT), shift),"
    " left_shift = COALESCE(left_shift, CAST(:left AS BIGINT)),"
    " left_xid = COALESCE(left_xid, CAST(:before AS BIGINT)),"
    " left_at = COALESCE(left_at, CAST(:since AS TIMESTAMPTZ)), changed_at = clock_timestamp()"
)


_SETTLED = "left_shift = NULL, left_xid = NULL, left_at = NULL"


def _move_late_events(connection: Connection) -> None:
    """Move events that this cluster wrote with the old shift after all others."""
    taken = (
        connection.execute(text("SELECT * FROM taskdb_history_cluster FOR UPDATE")).mappings().one()
    )
    if taken["left_shift"] is None:
        return
    given = {
        "shift": taken["left_shift"],
        "since": taken["left_at"] or "-infinity",
        "edge": taken["left_xid"],
    }
    moved = connection.execute(text(_MOVE_LATE), given).rowcount
    connection.execute(text("UPDATE taskdb_history_cluster SET " + _SETTLED))
    if moved:
        log.info("history.late_events_moved", count=moved)
