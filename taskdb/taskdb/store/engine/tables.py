"""The tables in SQLAlchemy, for lists and for reading rows.

The migrations create them, with checks, partitions and partial indexes. A test compares the two.
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

from taskdb.store.engine.types import Id, Json, Moment, Number, as_number

metadata = MetaData()

JSON_COLUMNS = frozenset({"input", "result", "error", "attributes", "tags", "detail", "spec"})
"""Columns that a raw statement must read as text."""
ID_COLUMNS = frozenset({"parent_id", "chunk"})
"""Columns beside `id` that hold an id."""


def _required(kind: type[TypeEngine[Any]] | TypeEngine[Any], *names: str) -> Iterator[Column[Any]]:
    """Columns of one type that are never NULL."""
    return (Column(name, kind, nullable=False) for name in names)


def _optional(kind: type[TypeEngine[Any]] | TypeEngine[Any], *names: str) -> Iterator[Column[Any]]:
    """Columns of one type that may be NULL."""
    return (Column(name, kind) for name in names)


task = Table(
    "taskdb_task",
    metadata,
    Column("id", Id, primary_key=True),
    *_required(Text, "tenant", "type", "kind"),
    Column("role", Text),
    *_required(Text, "name", "status", "queue"),
    Column("priority", SmallInteger, nullable=False),
    Column("input", Json),
    Column("input_ref", Text),
    Column("result", Json),
    Column("result_ref", Text),
    Column("error", Json),
    *_required(Json, "attributes", "tags"),
    *_optional(BigInteger, "progress_current", "progress_total"),
    Column("progress_message", Text),
    *_required(Integer, "attempt", "spared", "crashes", "unregistered"),
    Column("max_attempts", Integer),
    Column("unique_key", Text),
    Column("parent_id", Id),
    Column("position", BigInteger),
    Column("chunk", Id),
    Column("spec", Json),
    *_optional(
        Text,
        "waits_for",
        "held_by",
        "worker",
        "claim_token",
        "request_id",
        "created_by",
        "created_ip",
    ),
    *_required(Moment, "created_at", "updated_at"),
    *_optional(Moment, "run_at", "deadline_at"),
    Column("relay_at", Moment, nullable=False),
    *_optional(Moment, "queued_at", "started_at", "ended_at", "cancel_requested_at"),
    Column("mutex_key", Text),
    *_required(Boolean, "needs_admission", "may_rerun"),
    Column("callback_hash", Text),
    Column("callback_until", Moment),
    Column("called_back", Text),
    Column("is_adopted", Boolean, nullable=False),
    *_optional(Text, "notify_id", "trace"),
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

worker = Table(
    "taskdb_worker",
    metadata,
    Column("id", Text, primary_key=True),
    *_required(Text, "name", "host"),
    Column("pid", Integer, nullable=False),
    *_required(Json, "queues", "types"),
    Column("release", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    *_optional(Moment, "seen_at", "stopped_at"),
    *_required(Json, "claims", "messages"),
    Column("listed_at", Moment),
    Column("claims_before", Json, nullable=False),
    Column("listed_before_at", Moment),
    Column("waiting", Text),
)

limit = Table(
    "taskdb_limit",
    metadata,
    Column("target", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("is_paused", Boolean, nullable=False),
    *_optional(Integer, "max_running", "max_starts"),
    Column("window_seconds", Number),
    Column("origin", Text, nullable=False),
    *_optional(Text, "reason", "set_by"),
    Column("set_at", Moment, nullable=False),
)

slot = Table(
    "taskdb_slot",
    metadata,
    Column("key", Text, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("task_id", Id),
    Column("seconds", Number),
    Column("until", Moment),
    Column("taken_at", Moment, nullable=False),
)

reservation = Table(
    "taskdb_reservation",
    metadata,
    Column("key", Text, primary_key=True),
    Column("task_id", Id, primary_key=True),
)

schedule = Table(
    "taskdb_schedule",
    metadata,
    Column("id", Id, primary_key=True),
    *_required(Text, "tenant", "name", "type"),
    Column("input", Json),
    Column("kind", Text, nullable=False),
    Column("cron", Text),
    Column("interval_seconds", Number),
    Column("once_at", Moment),
    Column("timezone", Text, nullable=False),
    Column("queue", Text),
    Column("priority", SmallInteger),
    Column("jitter_seconds", Number, nullable=False),
    *_optional(Moment, "starts_at", "ends_at"),
    Column("is_enabled", Boolean, nullable=False),
    Column("misfire", Text, nullable=False),
    Column("misfire_grace_seconds", Number, nullable=False),
    Column("misfire_bound", Integer, nullable=False),
    *_required(Text, "overlap", "origin"),
    Column("message", Json),
    *_optional(Moment, "next_due_at", "last_due_at"),
    Column("last_task_id", Id),
    Column("last_error", Text),
    Column("retry_at", Moment),
    Column("created_by", Text),
    *_required(Moment, "created_at", "updated_at"),
    Column("version", Integer, nullable=False),
    Column("deadline_seconds", Number),
)

schedule_refusal = Table(
    "taskdb_schedule_refusal",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    *_required(Text, "type", "reason"),
    Column("at", Moment, nullable=False),
)

schedule_run = Table(
    "taskdb_schedule_run",
    metadata,
    Column("schedule_id", Id, primary_key=True),
    Column("due_at", Moment, primary_key=True),
    Column("outcome", Text, nullable=False),
    Column("task_id", Id),
    Column("reason", Text),
    Column("number", Integer, nullable=False),
    Column("last_due_at", Moment),
    Column("at", Moment, nullable=False),
    Column("is_reported", Boolean, nullable=False),
)

alarm = Table(
    "taskdb_alarm",
    metadata,
    Column("id", Id, primary_key=True),
    *_required(Text, "fingerprint", "source", "type", "error_type", "place"),
    Column("tenant", Text),
    *_required(Text, "severity", "state"),
    Column("snoozed_until", Moment),
    *_required(BigInteger, "count", "reported"),
    Column("sequence", Integer, nullable=False),
    Column("window_until", Moment),
    Column("is_regression", Boolean, nullable=False),
    Column("is_routed", Boolean),
    *_required(Json, "channels", "evidence", "task_ids", "sample"),
    Column("message", Text, nullable=False),
    *_required(Moment, "first_seen_at", "last_seen_at", "opened_at"),
    *_optional(Moment, "resolved_at", "acted_at"),
    *_optional(Text, "acted_by", "note", "acted_for"),
)

delivery = Table(
    "taskdb_delivery",
    metadata,
    Column("id", Id, primary_key=True),
    Column("alarm_id", Id, nullable=False),
    Column("channel", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    *_required(BigInteger, "count", "total"),
    Column("message", Json, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_try_at", Moment, nullable=False),
    *_optional(Moment, "failing_since", "lease_until", "sent_at"),
    *_optional(Text, "last_error", "lease_token"),
    Column("created_at", Moment, nullable=False),
)

alarm_route = Table(
    "taskdb_alarm_route",
    metadata,
    Column("id", Id, primary_key=True),
    *_optional(Text, "tenant", "type", "source"),
    Column("severity", Text, nullable=False),
    Column("channels", Json, nullable=False),
    Column("created_by", Text),
    Column("created_at", Moment, nullable=False),
    Column("owner", Text),
)

alarm_policy = Table(
    "taskdb_alarm_policy",
    metadata,
    Column("type", Text, primary_key=True),
    Column("sources", Json),
    Column("severity", Text),
    Column("channels", Json, nullable=False),
    Column("group_by_tenant", Boolean),
    Column("backlog_seconds", Number),
    Column("declared_at", Moment, nullable=False),
)

alarm_cursor = Table(
    "taskdb_alarm_cursor",
    metadata,
    Column("name", Text, primary_key=True),
    *_required(BigInteger, "xid", "event_id"),
    Column("ahead", Json, nullable=False),
    Column("moved_at", Moment, nullable=False),
)

history_cluster = Table(
    "taskdb_history_cluster",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("identity", Text),
    Column("shift", BigInteger, nullable=False),
    *_optional(BigInteger, "left_shift", "left_xid"),
    Column("left_at", Moment),
    Column("changed_at", Moment, nullable=False),
)

reporter = Table(
    "taskdb_reporter",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Moment, nullable=False),
    *_optional(BigInteger, "xid", "event_id"),
)

set_aside = Table(
    "taskdb_set_aside",
    metadata,
    Column("loop", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    *_required(Moment, "first_at", "last_at", "next_try_at"),
)

subscription = Table(
    "taskdb_subscription",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("is_for_all", Boolean, nullable=False),
    *_required(Text, "name", "transport", "target"),
    *_optional(Text, "type", "kind"),
    Column("statuses", Json, nullable=False),
    Column("with_sub_tasks", Boolean, nullable=False),
    *_optional(Text, "secret", "previous_secret"),
    Column("previous_until", Moment),
    Column("state", Text, nullable=False),
    *_required(BigInteger, "cursor_xid", "cursor_id"),
    Column("cursor_at", Moment),
    Column("attempts", Integer, nullable=False),
    *_optional(Moment, "failing_since", "next_try_at"),
    Column("last_error", Text),
    Column("sent", BigInteger, nullable=False),
    Column("last_sent_at", Moment),
    Column("lease_token", Text),
    Column("lease_until", Moment),
    Column("created_by", Text),
    *_required(Moment, "created_at", "updated_at"),
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
