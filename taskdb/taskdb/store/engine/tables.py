"""The other tables in SQLAlchemy, for lists and for reading rows.

The migrations create all tables, with checks, partitions and partial indexes. A test compares the
two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    SmallInteger,
    Table,
    Text,
)

from taskdb.store.engine.task_table import metadata as _metadata
from taskdb.store.engine.task_table import optional, required
from taskdb.store.engine.types import Id, Json, Moment, Number

metadata = _metadata

worker = Table(
    "taskdb_worker",
    metadata,
    Column("id", Text, primary_key=True),
    *required(Text, "name", "host"),
    Column("pid", Integer, nullable=False),
    *required(Json, "queues", "types"),
    Column("release", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    *optional(Moment, "seen_at", "stopped_at"),
    *required(Json, "claims", "messages"),
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
    *optional(Integer, "max_running", "max_starts"),
    Column("window_seconds", Number),
    Column("origin", Text, nullable=False),
    *optional(Text, "reason", "set_by"),
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
    *required(Text, "tenant", "name", "type"),
    Column("input", Json),
    Column("kind", Text, nullable=False),
    Column("cron", Text),
    Column("interval_seconds", Number),
    Column("once_at", Moment),
    Column("timezone", Text, nullable=False),
    Column("queue", Text),
    Column("priority", SmallInteger),
    Column("jitter_seconds", Number, nullable=False),
    *optional(Moment, "starts_at", "ends_at"),
    Column("is_enabled", Boolean, nullable=False),
    Column("misfire", Text, nullable=False),
    Column("misfire_grace_seconds", Number, nullable=False),
    Column("misfire_bound", Integer, nullable=False),
    *required(Text, "overlap", "origin"),
    Column("message", Json),
    *optional(Moment, "next_due_at", "last_due_at"),
    Column("last_task_id", Id),
    Column("last_error", Text),
    Column("retry_at", Moment),
    Column("created_by", Text),
    *required(Moment, "created_at", "updated_at"),
    Column("version", Integer, nullable=False),
    Column("deadline_seconds", Number),
)

schedule_refusal = Table(
    "taskdb_schedule_refusal",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    *required(Text, "type", "reason"),
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
    *required(Text, "fingerprint", "source", "type", "error_type", "place"),
    Column("tenant", Text),
    *required(Text, "severity", "state"),
    Column("snoozed_until", Moment),
    *required(BigInteger, "count", "reported"),
    Column("sequence", Integer, nullable=False),
    Column("window_until", Moment),
    Column("is_regression", Boolean, nullable=False),
    Column("is_routed", Boolean),
    *required(Json, "channels", "evidence", "task_ids", "sample"),
    Column("message", Text, nullable=False),
    *required(Moment, "first_seen_at", "last_seen_at", "opened_at"),
    *optional(Moment, "resolved_at", "acted_at"),
    *optional(Text, "acted_by", "note", "acted_for"),
)

delivery = Table(
    "taskdb_delivery",
    metadata,
    Column("id", Id, primary_key=True),
    Column("alarm_id", Id, nullable=False),
    Column("channel", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    *required(BigInteger, "count", "total"),
    Column("message", Json, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_try_at", Moment, nullable=False),
    *optional(Moment, "failing_since", "lease_until", "sent_at"),
    *optional(Text, "last_error", "lease_token"),
    Column("created_at", Moment, nullable=False),
)

alarm_route = Table(
    "taskdb_alarm_route",
    metadata,
    Column("id", Id, primary_key=True),
    *optional(Text, "tenant", "type", "source"),
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
    *required(BigInteger, "xid", "event_id"),
    Column("ahead", Json, nullable=False),
    Column("moved_at", Moment, nullable=False),
)

history_cluster = Table(
    "taskdb_history_cluster",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("identity", Text),
    Column("shift", BigInteger, nullable=False),
    *optional(BigInteger, "left_shift", "left_xid"),
    Column("left_at", Moment),
    Column("changed_at", Moment, nullable=False),
)

reporter = Table(
    "taskdb_reporter",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Moment, nullable=False),
    *optional(BigInteger, "xid", "event_id"),
)

set_aside = Table(
    "taskdb_set_aside",
    metadata,
    Column("loop", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    *required(Moment, "first_at", "last_at", "next_try_at"),
)

subscription = Table(
    "taskdb_subscription",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("is_for_all", Boolean, nullable=False),
    *required(Text, "name", "transport", "target"),
    *optional(Text, "type", "kind"),
    Column("statuses", Json, nullable=False),
    Column("with_sub_tasks", Boolean, nullable=False),
    *optional(Text, "secret", "previous_secret"),
    Column("previous_until", Moment),
    Column("state", Text, nullable=False),
    *required(BigInteger, "cursor_xid", "cursor_id"),
    Column("cursor_at", Moment),
    Column("attempts", Integer, nullable=False),
    *optional(Moment, "failing_since", "next_try_at"),
    Column("last_error", Text),
    Column("sent", BigInteger, nullable=False),
    Column("last_sent_at", Moment),
    Column("lease_token", Text),
    Column("lease_until", Moment),
    Column("created_by", Text),
    *required(Moment, "created_at", "updated_at"),
)
