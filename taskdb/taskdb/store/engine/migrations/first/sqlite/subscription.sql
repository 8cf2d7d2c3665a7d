-- A subscription: a cursor over the history, and where the status changes behind it are sent.

-- `cursor_xid` and `cursor_id` are those of the last event that was sent or passed over. A beat
-- that has lost the lease's token must not move the cursor. A row that plain SQL inserts begins at
-- the beginning of the history.
CREATE TABLE taskdb_subscription (
    id TEXT NOT NULL PRIMARY KEY DEFAULT (
        lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' ||
        substr(hex(randomblob(2)), 2) || '-' || substr('89ab', 1 + (abs(random()) % 4), 1) ||
        substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))
    ),
    tenant TEXT NOT NULL DEFAULT '',
    is_for_all BOOLEAN NOT NULL DEFAULT false,
    name TEXT NOT NULL,
    transport TEXT NOT NULL,
    target TEXT NOT NULL DEFAULT '',
    type TEXT,
    kind TEXT,
    statuses TEXT NOT NULL DEFAULT '[]',
    with_sub_tasks BOOLEAN NOT NULL DEFAULT false,
    secret TEXT,
    -- Valid beside the new secret until `previous_until`.
    previous_secret TEXT,
    previous_until TEXT,
    state TEXT NOT NULL DEFAULT 'active',
    cursor_xid BIGINT NOT NULL DEFAULT 0,
    cursor_id BIGINT NOT NULL DEFAULT 0,
    cursor_at TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    failing_since TEXT,
    next_try_at TEXT,
    last_error TEXT,
    sent BIGINT NOT NULL DEFAULT 0,
    last_sent_at TEXT,
    lease_token TEXT,
    lease_until TEXT,
    created_by TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    CONSTRAINT taskdb_subscription_is_sound CHECK (
        name <> '' AND transport IN ('webhook','redis','sns','log')
        AND state IN ('active','paused','dead')
        AND (kind IS NULL OR kind IN ('TASK','FAN_OUT','SEQUENCE'))
        AND (NOT is_for_all OR tenant = '')
        AND (transport <> 'webhook' OR secret IS NOT NULL)
        AND (previous_secret IS NULL) = (previous_until IS NULL)
    ),
    CONSTRAINT taskdb_subscription_is_bounded CHECK (
        length(CAST(tenant AS BLOB)) <= 1000 AND length(CAST(name AS BLOB)) <= 1000
        AND (previous_until IS NULL OR previous_until LIKE '____-__-__%'
            AND previous_until BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (next_try_at IS NULL OR next_try_at LIKE '____-__-__%'
            AND next_try_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (lease_until IS NULL OR lease_until LIKE '____-__-__%'
            AND lease_until BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (failing_since IS NULL OR failing_since LIKE '____-__-__%'
            AND failing_since BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
    )
);

CREATE UNIQUE INDEX taskdb_subscription_name ON taskdb_subscription (is_for_all, tenant, name);
