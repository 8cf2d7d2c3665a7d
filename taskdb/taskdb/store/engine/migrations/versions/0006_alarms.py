"""Alarms, their messages, and how far the history has been read for them.

The history is the source: `alarm_cursor` is a place in it, and it moves in the transaction that
counts what was read. It begins at the end of what is there, so that old failures wake nobody.
The index has only what may raise an alarm: a task that ends well is not in it.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
oldest_code = "0005"

ALARM = """
CREATE TABLE alarm (
    id {uuid} NOT NULL PRIMARY KEY DEFAULT {new_id},
    fingerprint TEXT NOT NULL,
    source TEXT NOT NULL,
    type TEXT NOT NULL DEFAULT '',
    error_type TEXT NOT NULL DEFAULT '',
    place TEXT NOT NULL DEFAULT '',
    tenant TEXT,
    severity TEXT NOT NULL DEFAULT 'error',
    state TEXT NOT NULL DEFAULT 'open',
    snoozed_until {moment},
    count BIGINT NOT NULL DEFAULT 0,
    told BIGINT NOT NULL DEFAULT 0,
    sequence INTEGER NOT NULL DEFAULT 0,
    window_until {moment},
    is_regression {boolean} NOT NULL DEFAULT false,
    is_routed {boolean},
    channels {json} NOT NULL DEFAULT '[]',
    evidence {json} NOT NULL DEFAULT '[]',
    task_ids {json} NOT NULL DEFAULT '[]',
    sample {json} NOT NULL DEFAULT '{{}}',
    message TEXT NOT NULL DEFAULT '',
    first_seen_at {moment} NOT NULL DEFAULT {now},
    last_seen_at {moment} NOT NULL DEFAULT {now},
    opened_at {moment} NOT NULL DEFAULT {now},
    resolved_at {moment},
    acted_by TEXT,
    acted_at {moment},
    note TEXT,
    CONSTRAINT alarm_is_sound CHECK (
        state IN ('open','acknowledged','snoozed','resolved')
        AND severity IN ('info','warning','error','critical')
        AND (state = 'snoozed') = (snoozed_until IS NOT NULL)
        AND (state = 'resolved') = (resolved_at IS NOT NULL)
        AND count >= told AND told >= 0
    )
)
"""

DELIVERY = """
CREATE TABLE alarm_delivery (
    id {uuid} NOT NULL PRIMARY KEY DEFAULT {new_id},
    alarm_id {uuid} NOT NULL,
    channel TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    count BIGINT NOT NULL,
    total BIGINT NOT NULL,
    message {json} NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try_at {moment} NOT NULL DEFAULT {now},
    last_error TEXT,
    sent_at {moment},
    created_at {moment} NOT NULL DEFAULT {now},
    CONSTRAINT alarm_delivery_is_sound CHECK (kind IN ('opened','again','regression'))
)
"""

ROUTE = """
CREATE TABLE alarm_route (
    id {uuid} NOT NULL PRIMARY KEY DEFAULT {new_id},
    tenant TEXT,
    type TEXT,
    source TEXT,
    severity TEXT NOT NULL DEFAULT 'info',
    channels {json} NOT NULL,
    created_by TEXT,
    created_at {moment} NOT NULL DEFAULT {now},
    CONSTRAINT alarm_route_is_sound CHECK (severity IN ('info','warning','error','critical'))
)
"""

POLICY = """
CREATE TABLE alarm_policy (
    type TEXT NOT NULL PRIMARY KEY,
    sources {json},
    severity TEXT,
    channels {json} NOT NULL DEFAULT '[]',
    group_by_tenant {boolean},
    backlog_seconds {number},
    declared_at {moment} NOT NULL DEFAULT {now}
)
"""

CURSOR = """
CREATE TABLE alarm_cursor (
    name TEXT NOT NULL PRIMARY KEY,
    xid BIGINT NOT NULL DEFAULT 0,
    event_id BIGINT NOT NULL DEFAULT 0,
    ahead {json} NOT NULL DEFAULT '[]',
    moved_at {moment} NOT NULL DEFAULT {now}
)
"""

INDEXES = (
    (
        "CREATE INDEX task_event_bad ON task_event (xid, id)"
        " WHERE to_status IN ('FAILED','HALTED') AND from_status <> to_status"
    ),
    "CREATE UNIQUE INDEX alarm_fingerprint ON alarm (fingerprint)",
    "CREATE INDEX alarm_untold ON alarm (window_until) WHERE state = 'open' AND count > told",
    "CREATE INDEX alarm_snoozed ON alarm (snoozed_until) WHERE state = 'snoozed'",
    "CREATE INDEX alarm_seen ON alarm (last_seen_at, id)",
    "CREATE INDEX alarm_live ON alarm (source) WHERE state <> 'resolved'",
    "CREATE INDEX alarm_resolved ON alarm (resolved_at) WHERE state = 'resolved'",
    ("CREATE UNIQUE INDEX alarm_delivery_sequence ON alarm_delivery (alarm_id, channel, sequence)"),
    (
        "CREATE INDEX alarm_delivery_due ON alarm_delivery (channel, next_try_at)"
        " WHERE sent_at IS NULL"
    ),
    "ALTER TABLE schedule_run ADD COLUMN is_told BOOLEAN NOT NULL DEFAULT false",
    "UPDATE schedule_run SET is_told = true WHERE outcome = 'missed'",
    (
        "CREATE INDEX schedule_run_missed ON schedule_run (at)"
        " WHERE outcome = 'missed' AND NOT is_told"
    ),
    "INSERT INTO alarm_cursor (name) VALUES ('watch')",
)

BEGIN = {
    "postgresql": (
        "INSERT INTO alarm_cursor (name, xid, event_id) SELECT 'events',"
        " CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) - 1,"
        " 9223372036854775807"
    ),
    "sqlite": (
        "INSERT INTO alarm_cursor (name, event_id)"
        " SELECT 'events', COALESCE(max(id), 0) FROM task_event"
    ),
}

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
    bind = op.get_bind()
    types = POSTGRESQL if bind.dialect.name == "postgresql" else SQLITE
    for statement in (ALARM, DELIVERY, ROUTE, POLICY, CURSOR):
        bind.exec_driver_sql(statement.format(**types))
    for statement in (*INDEXES, BEGIN[bind.dialect.name]):
        bind.exec_driver_sql(statement)
