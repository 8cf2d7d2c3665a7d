"""Resubmits for later, and places that are kept for a task that waits for two limits.

A task that ended badly may be submitted again for a later time: the history takes FAILED →
SCHEDULED and HALTED → SCHEDULED from here on. PostgreSQL replaces the function of the check, which
locks no table. SQLite cannot change a check, so the table is copied. A row of `reservation` keeps a
place of a limit free for a task that waits for another limit. Code that is older than this lives
with both: it writes neither such a move nor such a row.
"""

from alembic import op
from sqlalchemy import Connection

revision = "0012"
down_revision = "0010"
oldest_code = "0010"

SOURCES = ("FAILED", "HALTED")
RESERVATION = """
CREATE TABLE reservation (
    key TEXT NOT NULL,
    task_id {uuid} NOT NULL,
    PRIMARY KEY (key, task_id)
)
"""
RESERVATION_TASK = "CREATE INDEX reservation_task ON reservation (task_id)"
_SEQUENCE = "SELECT seq FROM sqlite_sequence WHERE name = 'task_event'"
_INDEXES = (
    "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'task_event'"
    " AND sql IS NOT NULL"
)


def upgrade() -> None:
    connection = op.get_bind()
    is_postgresql = connection.dialect.name == "postgresql"
    connection.exec_driver_sql(RESERVATION.format(uuid="UUID" if is_postgresql else "TEXT"))
    connection.exec_driver_sql(RESERVATION_TASK)
    if is_postgresql:
        _replace_function(connection)
    else:
        _copy_table(connection)


def _replace_function(connection: Connection) -> None:
    name = "'taskdb_is_move(text, text)'::regprocedure"
    found = connection.exec_driver_sql(f"SELECT pg_get_functiondef({name})").scalar_one()
    for source in SOURCES:
        known, new = f"[{source}>CREATED]", f"[{source}>CREATED][{source}>SCHEDULED]"
        # A run that was interrupted may have replaced it.
        found = found if new in found else _replaced(found, known, new)
    connection.exec_driver_sql(found)


def _copy_table(connection: Connection) -> None:
    sql = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'task_event'"
    table = connection.exec_driver_sql(sql).scalar_one()
    for source in SOURCES:
        known = f"from_status = '{source}' AND to_status IN ("
        table = _replaced(table, known, f"{known}'SCHEDULED', ")
    indexes = list(connection.exec_driver_sql(_INDEXES).scalars())
    newest = connection.exec_driver_sql(_SEQUENCE).scalar_one_or_none()
    copy = (
        _replaced(table, "CREATE TABLE task_event", "CREATE TABLE task_event_copy"),
        "INSERT INTO task_event_copy SELECT * FROM task_event",
        "DROP TABLE task_event",
        "ALTER TABLE task_event_copy RENAME TO task_event",
        *indexes,
    )
    for statement in copy:
        connection.exec_driver_sql(statement)
    if newest is not None:
        _keep_counting(connection, newest)


def _keep_counting(connection: Connection, newest: int) -> None:
    """A cursor has seen every id up to here, also those of events that were pruned."""
    for statement in (
        "DELETE FROM sqlite_sequence WHERE name = 'task_event'",
        f"INSERT INTO sqlite_sequence (name, seq) VALUES ('task_event', {int(newest)})",
    ):
        connection.exec_driver_sql(statement)


def _replaced(text: str, known: str, new: str) -> str:
    if known not in text:
        message = f"the schema is not as a migration made it: {known!r} is missing"
        raise RuntimeError(message)
    return text.replace(known, new)
