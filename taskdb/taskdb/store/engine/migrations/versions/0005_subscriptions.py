"""Who is told of changes of status, and the id that a task may name for it.

A subscription is a cursor over the history: `cursor_xid` and `cursor_id` are those of the last
event that was sent or passed over. The lease and its token are the beat's: who has lost the token
has lost the right to move the cursor. A row that plain SQL inserts begins at the beginning.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
oldest_code = "0004"

SUBSCRIPTION = """
CREATE TABLE subscription (
    id {uuid} NOT NULL PRIMARY KEY DEFAULT {new_id},
    tenant TEXT NOT NULL DEFAULT '',
    is_for_all BOOLEAN NOT NULL DEFAULT false,
    name TEXT NOT NULL,
    transport TEXT NOT NULL,
    target TEXT NOT NULL DEFAULT '',
    type TEXT,
    kind TEXT,
    statuses {json} NOT NULL DEFAULT '[]',
    with_sub_tasks BOOLEAN NOT NULL DEFAULT false,
    secret TEXT,
    previous_secret TEXT,
    previous_until {moment},
    state TEXT NOT NULL DEFAULT 'active',
    cursor_xid BIGINT NOT NULL DEFAULT 0,
    cursor_id BIGINT NOT NULL DEFAULT 0,
    cursor_at {moment},
    attempts INTEGER NOT NULL DEFAULT 0,
    failing_since {moment},
    next_try_at {moment},
    last_error TEXT,
    sent BIGINT NOT NULL DEFAULT 0,
    last_sent_at {moment},
    lease_token TEXT,
    lease_until {moment},
    created_by TEXT,
    created_at {moment} NOT NULL DEFAULT {now},
    updated_at {moment} NOT NULL DEFAULT {now},
    CONSTRAINT subscription_is_sound CHECK (
        name <> '' AND transport IN ('webhook','redis','sns','log')
        AND state IN ('active','paused','dead')
        AND (kind IS NULL OR kind IN ('TASK','FAN_OUT','SEQUENCE'))
        AND (NOT is_for_all OR tenant = '')
        AND (transport <> 'webhook' OR secret IS NOT NULL)
        AND (previous_secret IS NULL) = (previous_until IS NULL)
    )
)
"""

STATEMENTS = (
    "CREATE UNIQUE INDEX subscription_name ON subscription (is_for_all, tenant, name)",
    "ALTER TABLE task ADD COLUMN notify_id TEXT",
)

POSTGRESQL = {
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
    "uuid": "TEXT",
    "json": "TEXT",
    "moment": "TEXT",
    "now": "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
}


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    types = POSTGRESQL if is_postgresql else SQLITE
    for statement in (SUBSCRIPTION.format(**types), *STATEMENTS):
        op.get_bind().exec_driver_sql(statement)
