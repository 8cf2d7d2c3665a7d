"""The tables as SQLAlchemy knows them, for lists and for reading rows.

The migrations create them (with what only DDL can say: checks, partitions, partial indexes); a
test holds the two against each other.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Float,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    cast,
    literal_column,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, JSONB, TIMESTAMP, UUID
from sqlalchemy.types import TypeDecorator, TypeEngine

from taskdb.model.bounds import EARLIEST, LATEST, TOO_DEEP
from taskdb.model.json_text import Unreadable, encode

metadata = MetaData()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_number(column: str) -> str:
    """PostgreSQL's SQL for a moment as microseconds since 1970.

    No setting of a session, such as `DateStyle`, spells that in another way. One past the years
    that a number can be made of is near their end.
    """
    later, earlier = "TIMESTAMPTZ '10000-01-01 00:00:00Z'", "TIMESTAMPTZ '0001-01-01 00:00:00Z BC'"
    bounded = f"GREATEST(LEAST({column}, {later}), {earlier})"
    number = f"CAST(EXTRACT(EPOCH FROM {bounded}) * 1000000 AS BIGINT)"
    return f"CASE WHEN {column} IS NOT NULL THEN {number} END"


class Moment(TypeDecorator[datetime]):
    """A moment in UTC: timestamptz, or on SQLite text that sorts as time does."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return moment_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the signature is SQLAlchemy's
        return as_moment(value)


class Json(TypeDecorator[Any]):
    """A JSON value: JSONB, or on SQLite text."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(JSONB(none_as_null=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return spelled(value)

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        # As text from either database: a driver that decodes makes text and JSON text alike.
        return type_coerce(cast(column, Text), self)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - the signature is SQLAlchemy's
        return as_readable(value)


class Id(TypeDecorator[str]):
    """A UUID, as canonical text outside the database."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(UUID(as_uuid=False))
        return dialect.type_descriptor(Text())


Number = Float().with_variant(DOUBLE_PRECISION(), "postgresql")
"""A number that need not be whole."""

JSON_COLUMNS = frozenset({"input", "result", "error", "attributes", "tags", "detail", "spec"})
"""Columns that a raw statement must read as text."""
ID_COLUMNS = frozenset({"parent_id", "chunk"})
"""Columns beside `id` that hold an id."""

task = Table(
    "taskdb_task",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("role", Text),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("input", Json),
    Column("input_ref", Text),
    Column("result", Json),
    Column("result_ref", Text),
    Column("error", Json),
    Column("attributes", Json, nullable=False),
    Column("tags", Json, nullable=False),
    Column("progress_current", BigInteger),
    Column("progress_total", BigInteger),
    Column("progress_message", Text),
    Column("attempt", Integer, nullable=False),
    Column("spared", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("unregistered", Integer, nullable=False),
    Column("max_attempts", Integer),
    Column("unique_key", Text),
    Column("parent_id", Id),
    Column("position", BigInteger),
    Column("chunk", Id),
    Column("spec", Json),
    Column("waits_for", Text),
    Column("held_by", Text),
    Column("worker", Text),
    Column("claim_token", Text),
    Column("request_id", Text),
    Column("created_by", Text),
    Column("created_ip", Text),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("run_at", Moment),
    Column("deadline_at", Moment),
    Column("relay_at", Moment, nullable=False),
    Column("queued_at", Moment),
    Column("started_at", Moment),
    Column("ended_at", Moment),
    Column("cancel_requested_at", Moment),
    Column("mutex_key", Text),
    Column("is_gated", Boolean, nullable=False),
    Column("may_rerun", Boolean, nullable=False),
    Column("callback_hash", Text),
    Column("callback_until", Moment),
    Column("called_back", Text),
    Column("is_adopted", Boolean, nullable=False),
    Column("notify_id", Text),
    Column("trace", Text),
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
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("queues", Json, nullable=False),
    Column("types", Json, nullable=False),
    Column("release", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("seen_at", Moment),
    Column("stopped_at", Moment),
    Column("claims", Json, nullable=False),
    Column("messages", Json, nullable=False),
    Column("listed_at", Moment),
    Column("claims_before", Json, nullable=False),
    Column("listed_before_at", Moment),
    Column("waiting", Text),
)

gate = Table(
    "taskdb_limit",
    metadata,
    Column("target", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("is_paused", Boolean, nullable=False),
    Column("max_running", Integer),
    Column("max_starts", Integer),
    Column("window_seconds", Number),
    Column("origin", Text, nullable=False),
    Column("reason", Text),
    Column("set_by", Text),
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
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("input", Json),
    Column("kind", Text, nullable=False),
    Column("cron", Text),
    Column("interval_seconds", Number),
    Column("once_at", Moment),
    Column("timezone", Text, nullable=False),
    Column("queue", Text),
    Column("priority", SmallInteger),
    Column("jitter_seconds", Number, nullable=False),
    Column("starts_at", Moment),
    Column("ends_at", Moment),
    Column("is_enabled", Boolean, nullable=False),
    Column("misfire", Text, nullable=False),
    Column("misfire_grace_seconds", Number, nullable=False),
    Column("misfire_bound", Integer, nullable=False),
    Column("overlap", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("message", Json),
    Column("next_due_at", Moment),
    Column("last_due_at", Moment),
    Column("last_task_id", Id),
    Column("last_error", Text),
    Column("retry_at", Moment),
    Column("created_by", Text),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("version", Integer, nullable=False),
    Column("deadline_seconds", Number),
)

schedule_refusal = Table(
    "taskdb_schedule_refusal",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("reason", Text, nullable=False),
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
    Column("is_told", Boolean, nullable=False),
)

alarm = Table(
    "taskdb_alarm",
    metadata,
    Column("id", Id, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("error_type", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("tenant", Text),
    Column("severity", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("snoozed_until", Moment),
    Column("count", BigInteger, nullable=False),
    Column("told", BigInteger, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("window_until", Moment),
    Column("is_regression", Boolean, nullable=False),
    Column("is_routed", Boolean),
    Column("channels", Json, nullable=False),
    Column("evidence", Json, nullable=False),
    Column("task_ids", Json, nullable=False),
    Column("sample", Json, nullable=False),
    Column("message", Text, nullable=False),
    Column("first_seen_at", Moment, nullable=False),
    Column("last_seen_at", Moment, nullable=False),
    Column("opened_at", Moment, nullable=False),
    Column("resolved_at", Moment),
    Column("acted_by", Text),
    Column("acted_at", Moment),
    Column("note", Text),
    Column("acted_for", Text),
)

alarm_delivery = Table(
    "taskdb_alarm_delivery",
    metadata,
    Column("id", Id, primary_key=True),
    Column("alarm_id", Id, nullable=False),
    Column("channel", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("message", Json, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_try_at", Moment, nullable=False),
    Column("last_error", Text),
    Column("sent_at", Moment),
    Column("created_at", Moment, nullable=False),
)

alarm_route = Table(
    "taskdb_alarm_route",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant", Text),
    Column("type", Text),
    Column("source", Text),
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
    Column("xid", BigInteger, nullable=False),
    Column("event_id", BigInteger, nullable=False),
    Column("ahead", Json, nullable=False),
    Column("moved_at", Moment, nullable=False),
)

history_cluster = Table(
    "taskdb_history_cluster",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("identity", Text),
    Column("shift", BigInteger, nullable=False),
    Column("left_shift", BigInteger),
    Column("left_xid", BigInteger),
    Column("left_at", Moment),
    Column("changed_at", Moment, nullable=False),
)

reporter = Table(
    "taskdb_reporter",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Moment, nullable=False),
    Column("xid", BigInteger),
    Column("event_id", BigInteger),
)

set_aside = Table(
    "taskdb_set_aside",
    metadata,
    Column("loop", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("first_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
    Column("next_try_at", Moment, nullable=False),
)

subscription = Table(
    "taskdb_subscription",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("is_for_all", Boolean, nullable=False),
    Column("name", Text, nullable=False),
    Column("transport", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("type", Text),
    Column("kind", Text),
    Column("statuses", Json, nullable=False),
    Column("with_sub_tasks", Boolean, nullable=False),
    Column("secret", Text),
    Column("previous_secret", Text),
    Column("previous_until", Moment),
    Column("state", Text, nullable=False),
    Column("cursor_xid", BigInteger, nullable=False),
    Column("cursor_id", BigInteger, nullable=False),
    Column("cursor_at", Moment),
    Column("attempts", Integer, nullable=False),
    Column("failing_since", Moment),
    Column("next_try_at", Moment),
    Column("last_error", Text),
    Column("sent", BigInteger, nullable=False),
    Column("last_sent_at", Moment),
    Column("lease_token", Text),
    Column("lease_until", Moment),
    Column("created_by", Text),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

MOMENT_COLUMNS = frozenset(
    column.name for column in task.columns if isinstance(column.type, Moment)
)
"""Columns of a task that hold a moment."""


def task_over(connection: Connection) -> list[ColumnElement[Any]]:
    """Every column of a task, as the connection of a caller reads it under any setting."""
    if connection.dialect.name != "postgresql":
        return list(task.columns)
    return [
        literal_column(as_number(f"taskdb_task.{one.name}"), Moment).label(one.name)
        if isinstance(one.type, Moment)
        else one
        for one in task.columns
    ]


def moment_text(value: datetime) -> str:
    """SQLite's spelling of a moment, to the millisecond, as its own `strftime` writes it."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_moment(value: Any) -> datetime | None:
    """A moment as either database spells it.

    One that no program can hold (`infinity`, a year of five digits) is the latest or the earliest
    that is allowed: the row of one task must not keep all others from being read.
    """
    if value is None:
        return None
    try:
        if isinstance(value, int):
            return _EPOCH + timedelta(microseconds=value)
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return nearest_moment(str(value))


def moment(value: Any) -> datetime:
    """A moment of a column that is never NULL."""
    return as_moment(value) or datetime.min.replace(tzinfo=UTC)


def nearest_moment(spelled: str) -> datetime:
    """What stands for a moment that cannot be read; what is no moment at all never comes."""
    is_early = spelled.startswith(("-", "0")) or spelled.endswith("BC")
    return EARLIEST if is_early else LATEST


def spelled(value: Any) -> str:
    """A value for a JSON column; its parts were checked where they came in."""
    return encode(value, "the value", deepest=None)


def as_json(value: str | None) -> Any:
    """The value of a JSON column that a raw statement read as text."""
    return None if value is None else json.loads(value)


def as_readable(value: str | None) -> Any:
    """The same; what was written by hand and cannot be read keeps no row beside it from it."""
    try:
        return as_json(value)
    except RecursionError:
        return Unreadable(TOO_DEEP)
    except ValueError as error:
        # No JSON, or a whole number of more digits than Python reads.
        return Unreadable(str(error))


def as_texts(value: str | None) -> tuple[str, ...]:
    """The texts of a JSON array; whatever else was written by hand lists nothing."""
    try:
        found = as_json(value)
    except ValueError:
        return ()
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()
