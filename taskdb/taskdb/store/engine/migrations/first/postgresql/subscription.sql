-- A subscription: a cursor over the history, and where the status changes behind it are sent.

-- `cursor_xid` and `cursor_id` are those of the last event that was sent or passed over. A beat
-- that has lost the lease's token must not move the cursor. A row that plain SQL inserts begins at
-- the beginning of the history.
CREATE TABLE taskdb_subscription (
    id UUID NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant TEXT NOT NULL DEFAULT '',
    is_for_all BOOLEAN NOT NULL DEFAULT false,
    name TEXT NOT NULL,
    transport TEXT NOT NULL,
    target TEXT NOT NULL DEFAULT '',
    type TEXT,
    kind TEXT,
    statuses JSONB NOT NULL DEFAULT '[]',
    with_sub_tasks BOOLEAN NOT NULL DEFAULT false,
    secret TEXT,
    -- Valid beside the new secret until `previous_until`.
    previous_secret TEXT,
    previous_until TIMESTAMPTZ,
    state TEXT NOT NULL DEFAULT 'active',
    cursor_xid BIGINT NOT NULL DEFAULT 0,
    cursor_id BIGINT NOT NULL DEFAULT 0,
    cursor_at TIMESTAMPTZ,
    attempts INTEGER NOT NULL DEFAULT 0,
    failing_since TIMESTAMPTZ,
    next_try_at TIMESTAMPTZ,
    last_error TEXT,
    sent BIGINT NOT NULL DEFAULT 0,
    last_sent_at TIMESTAMPTZ,
    lease_token TEXT,
    lease_until TIMESTAMPTZ,
    created_by TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT taskdb_subscription_is_sound CHECK (
        name <> '' AND transport IN ('webhook','redis','sns','log')
        AND state IN ('active','paused','dead')
        AND (kind IS NULL OR kind IN ('TASK','FAN_OUT','SEQUENCE'))
        AND (NOT is_for_all OR tenant = '')
        AND (transport <> 'webhook' OR secret IS NOT NULL)
        AND (previous_secret IS NULL) = (previous_until IS NULL)
    ),
    CONSTRAINT taskdb_subscription_is_bounded CHECK (
        octet_length(tenant) <= 1000 AND octet_length(name) <= 1000
        AND (previous_until IS NULL
            OR previous_until BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (next_try_at IS NULL OR next_try_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (lease_until IS NULL OR lease_until BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (failing_since IS NULL
            OR failing_since BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
    )
);

CREATE UNIQUE INDEX taskdb_subscription_name ON taskdb_subscription (is_for_all, tenant, name);
