"""The tables of tasks and their history: every column of a row, once.

A value of the store, such as `Claim`, has the columns that its fields name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    literal_column,
)
from sqlalchemy.types import TypeEngine

from taskdb.store.engine.types import Id, Json, Moment, as_number

metadata = MetaData()

JSON_COLUMNS = frozenset({"input", "result", "error", "attributes", "tags", "detail", "spec"})
"""Columns that a raw statement must read as text."""
ID_COLUMNS = frozenset({"parent_id", "chunk"})
"""Columns beside `id` that hold an id."""


def required(kind: type[TypeEngine[Any]] | TypeEngine[Any], *names: str) -> Iterator[Column[Any]]:
    """Columns of one type that are never NULL."""
    return (Column(name, kind, nullable=False) for name in names)


def optional(kind: type[TypeEngine[Any]] | TypeEngine[Any], *names: str) -> Iterator[Column[Any]]:
    """Columns of one type that may be NULL."""
    return (Column(name, kind) for name in names)


task = Table(
    "taskdb_task",
    metadata,
    Column("id", Id, primary_key=True),
    *required(Text, "tenant", "type", "kind"),
    Column("role", Text),
    *required(Text, "name", "status", "queue"),
    Column("priority", SmallInteger, nullable=False),
    Column("input", Json),
    Column("input_ref", Text),
    Column("result", Json),
    Column("result_ref", Text),
    Column("error", Json),
    *required(Json, "attributes", "tags"),
    *optional(BigInteger, "progress_current", "progress_total"),
    Column("progress_message", Text),
    *required(Integer, "attempt", "spared", "crashes", "unregistered"),
    Column("max_attempts", Integer),
    Column("unique_key", Text),
    Column("parent_id", Id),
    Column("position", BigInteger),
    Column("chunk", Id),
    Column("spec", Json),
    *optional(
        Text,
        "waits_for",
        "held_by",
        "worker",
        "claim_token",
        "request_id",
        "created_by",
        "created_ip",
    ),
    *required(Moment, "created_at", "updated_at"),
    *optional(Moment, "run_at", "deadline_at"),
    Column("relay_at", Moment, nullable=False),
    *optional(Moment, "queued_at", "started_at", "ended_at", "cancel_requested_at"),
    Column("mutex_key", Text),
    *required(Boolean, "needs_admission", "may_rerun"),
    Column("callback_hash", Text),
    Column("callback_until", Moment),
    Column("called_back", Text),
    Column("is_adopted", Boolean, nullable=False),
    *optional(Text, "notify_id", "trace"),
)

task_event = Table(
    "taskdb_event",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("xid", BigInteger, nullable=False),
    Column("task_id", Id, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("from_status", Text),
    Column("to_status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("worker", Text),
    Column("at", Moment, nullable=False),
    Column("detail", Json),
)

MOMENT_COLUMNS = frozenset(
    column.name for column in task.columns if isinstance(column.type, Moment)
)
"""Columns of a task that hold a moment."""


def task_over(connection: Connection) -> list[ColumnElement[Any]]:
    """Every column of a task, spelled for a caller's connection with any setting."""
    if connection.dialect.name != "postgresql":
        return list(task.columns)
    return [
        literal_column(as_number(f"taskdb_task.{one.name}"), Moment).label(one.name)
        if isinstance(one.type, Moment)
        else one
        for one in task.columns
    ]
