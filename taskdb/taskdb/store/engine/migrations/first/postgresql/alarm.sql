-- Alarms, their routes and policies, and how far the history has been read for them.

CREATE TABLE taskdb_alarm (
    id UUID NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    -- Failures with the same fingerprint are one alarm.
    fingerprint TEXT NOT NULL,
    source TEXT NOT NULL,
    type TEXT NOT NULL DEFAULT '',
    error_type TEXT NOT NULL DEFAULT '',
    place TEXT NOT NULL DEFAULT '',
    tenant TEXT,
    severity TEXT NOT NULL DEFAULT 'error',
    state TEXT NOT NULL DEFAULT 'open',
    snoozed_until TIMESTAMPTZ,
    count BIGINT NOT NULL DEFAULT 0,
    -- How many of `count` a message has reported.
    reported BIGINT NOT NULL DEFAULT 0,
    -- The number of the last message.
    sequence INTEGER NOT NULL DEFAULT 0,
    -- Until then further failures are collected for the next message.
    window_until TIMESTAMPTZ,
    is_regression BOOLEAN NOT NULL DEFAULT false,
    is_routed BOOLEAN,
    channels JSONB NOT NULL DEFAULT '[]',
    evidence JSONB NOT NULL DEFAULT '[]',
    task_ids JSONB NOT NULL DEFAULT '[]',
    sample JSONB NOT NULL DEFAULT '{}',
    message TEXT NOT NULL DEFAULT '',
    first_seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    last_seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    opened_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    resolved_at TIMESTAMPTZ,
    acted_at TIMESTAMPTZ,
    acted_by TEXT,
    note TEXT,
    -- The tenant that acted on the alarm; NULL: the operator.
    acted_for TEXT,
    CONSTRAINT taskdb_alarm_is_sound CHECK (
        state IN ('open','acknowledged','snoozed','resolved')
        AND severity IN ('info','warning','error','critical')
        AND (state = 'snoozed') = (snoozed_until IS NOT NULL)
        AND (state = 'resolved') = (resolved_at IS NOT NULL)
        AND count >= reported AND reported >= 0
    ),
    CONSTRAINT taskdb_alarm_is_bounded CHECK (
        (snoozed_until IS NULL
            OR snoozed_until BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (window_until IS NULL
            OR window_until BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (last_seen_at IS NULL
            OR last_seen_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (resolved_at IS NULL OR resolved_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
    )
);

CREATE UNIQUE INDEX taskdb_alarm_fingerprint ON taskdb_alarm (fingerprint);
CREATE INDEX taskdb_alarm_unreported ON taskdb_alarm (window_until)
    WHERE state = 'open' AND count > reported;
CREATE INDEX taskdb_alarm_snoozed ON taskdb_alarm (snoozed_until) WHERE state = 'snoozed';
CREATE INDEX taskdb_alarm_seen ON taskdb_alarm (last_seen_at, id);
CREATE INDEX taskdb_alarm_live ON taskdb_alarm (source) WHERE state <> 'resolved';
CREATE INDEX taskdb_alarm_resolved ON taskdb_alarm (resolved_at) WHERE state = 'resolved';

-- Which channels get the alarms of a tenant, type or source; NULL: of any.
CREATE TABLE taskdb_alarm_route (
    id UUID NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant TEXT,
    type TEXT,
    source TEXT,
    severity TEXT NOT NULL DEFAULT 'info',
    channels JSONB NOT NULL,
    created_by TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- The tenant whose route it is; NULL: the operator's.
    owner TEXT,
    CONSTRAINT taskdb_alarm_route_is_sound CHECK (
        severity IN ('info','warning','error','critical')
    )
);

-- The alarm policy that a task type declares.
CREATE TABLE taskdb_alarm_policy (
    type TEXT NOT NULL PRIMARY KEY,
    sources JSONB,
    severity TEXT,
    channels JSONB NOT NULL DEFAULT '[]',
    group_by_tenant BOOLEAN,
    backlog_seconds DOUBLE PRECISION,
    declared_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT taskdb_alarm_policy_is_bounded CHECK (
        octet_length(type) <= 1000
        AND (backlog_seconds IS NULL OR backlog_seconds <= 3153600000)
    )
);

-- A place in the history. It moves in the transaction that counts the events.
CREATE TABLE taskdb_alarm_cursor (
    name TEXT NOT NULL PRIMARY KEY,
    xid BIGINT NOT NULL DEFAULT 0,
    event_id BIGINT NOT NULL DEFAULT 0,
    -- Events behind an open transaction that were counted already.
    ahead JSONB NOT NULL DEFAULT '[]',
    moved_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

INSERT INTO taskdb_alarm_cursor (name) VALUES ('watch');
-- It begins at the end of the history, so that old failures raise no alarm.
INSERT INTO taskdb_alarm_cursor (name, xid, event_id)
    SELECT 'events',
        CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) - 1,
        9223372036854775807;
