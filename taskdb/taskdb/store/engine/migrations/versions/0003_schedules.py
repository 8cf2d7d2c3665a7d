"""Schedules, and what became of each of their due times.

`next_due_at` is the beat's: NULL asks it to find the next due time (a row inserted or changed by
plain SQL leaves or sets it so), and a moment that never comes stands for "over". The primary key
of `schedule_run` is what lets a due time fire once, however many beats there are; its rows stay
when their schedule is removed.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
oldest_code = "0002"

SCHEDULE = """
CREATE TABLE schedule (
    id {uuid} NOT NULL PRIMARY KEY DEFAULT {new_id},
    tenant TEXT NOT NULL DEFAULT '',
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    input {json},
    kind TEXT NOT NULL DEFAULT 'cron',
    cron TEXT,
    interval_seconds {number},
    once_at {moment},
    timezone TEXT NOT NULL DEFAULT 'UTC',
    queue TEXT,
    priority SMALLINT,
    jitter_seconds {number} NOT NULL DEFAULT 0,
    starts_at {moment},
    ends_at {moment},
    is_enabled {boolean} NOT NULL DEFAULT true,
    misfire TEXT NOT NULL DEFAULT 'run_once',
    misfire_grace_seconds {number} NOT NULL DEFAULT 60,
    misfire_bound INTEGER NOT NULL DEFAULT 100,
    overlap TEXT NOT NULL DEFAULT 'allow',
    origin TEXT NOT NULL DEFAULT 'person',
    message {json},
    next_due_at {moment},
    last_due_at {moment},
    last_task_id {uuid},
    last_error TEXT,
    retry_at {moment},
    created_by TEXT,
    created_at {moment} NOT NULL DEFAULT {now},
    updated_at {moment} NOT NULL DEFAULT {now},
    version INTEGER NOT NULL DEFAULT 1,
    CONSTRAINT schedule_is_sound CHECK (
        name <> '' AND type <> '' AND kind IN ('cron','interval','once')
        AND (kind = 'cron') = (cron IS NOT NULL)
        AND (kind = 'interval') = (interval_seconds IS NOT NULL)
        AND (kind = 'once') = (once_at IS NOT NULL)
        AND (interval_seconds IS NULL OR interval_seconds >= 1)
        AND (priority IS NULL OR priority BETWEEN 0 AND 9)
        AND jitter_seconds BETWEEN 0 AND 86400 AND misfire_grace_seconds >= 0
        AND misfire_bound BETWEEN 1 AND 1000
        AND misfire IN ('skip','run_once','run_all')
        AND overlap IN ('allow','skip','cancel_running')
        AND origin IN ('person','code','settings','celery')
    )
)
"""

RUN = """
CREATE TABLE schedule_run (
    schedule_id {uuid} NOT NULL,
    due_at {moment} NOT NULL,
    outcome TEXT NOT NULL,
    task_id {uuid},
    reason TEXT,
    number INTEGER NOT NULL DEFAULT 1,
    last_due_at {moment},
    at {moment} NOT NULL DEFAULT {now},
    PRIMARY KEY (schedule_id, due_at),
    CONSTRAINT schedule_run_is_sound CHECK (outcome IN ('fired','skipped','missed'))
)
"""

INDEXES = (
    "CREATE UNIQUE INDEX schedule_name ON schedule (tenant, name)",
    "CREATE INDEX schedule_due ON schedule (next_due_at) WHERE is_enabled",
)

POSTGRESQL = {
    "boolean": "BOOLEAN",
    "number": "DOUBLE PRECISION",
    "uuid": "UUID",
    "json": "JSONB",
    "moment": "TIMESTAMPTZ",
    "now": "clock_timestamp()",
    "new_id": "gen_random_uuid()",
}

SQLITE = {
    "new_id": (
        "(lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' ||"
        " substr(hex(randomblob(2)), 2) || '-' || substr('89ab', 1 + (abs(random()) % 4), 1) ||"
        " substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))))"
    ),
    "boolean": "BOOLEAN",
    "number": "FLOAT",
    "uuid": "TEXT",
    "json": "TEXT",
    "moment": "TEXT",
    "now": "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
}


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    types = POSTGRESQL if is_postgresql else SQLITE
    for statement in (SCHEDULE, RUN):
        op.get_bind().exec_driver_sql(statement.format(**types))
    for statement in INDEXES:
        op.get_bind().exec_driver_sql(statement)
