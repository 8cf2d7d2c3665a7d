-- Schedules, and the outcome of each of their due times.

-- `next_due_at` belongs to the beat: NULL asks it to find the next due time (a row inserted or
-- changed by plain SQL leaves or sets it so); a moment that never comes means "over".
CREATE TABLE taskdb_schedule (
    id TEXT NOT NULL PRIMARY KEY DEFAULT (
        lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' ||
        substr(hex(randomblob(2)), 2) || '-' || substr('89ab', 1 + (abs(random()) % 4), 1) ||
        substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))
    ),
    tenant TEXT NOT NULL DEFAULT '',
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    input TEXT,
    kind TEXT NOT NULL DEFAULT 'cron',
    cron TEXT,
    interval_seconds FLOAT,
    once_at TEXT,
    timezone TEXT NOT NULL DEFAULT 'UTC',
    queue TEXT,
    priority SMALLINT,
    jitter_seconds FLOAT NOT NULL DEFAULT 0,
    starts_at TEXT,
    ends_at TEXT,
    is_enabled BOOLEAN NOT NULL DEFAULT true,
    -- The policy for due times that passed while no beat was running.
    misfire TEXT NOT NULL DEFAULT 'run_once',
    misfire_grace_seconds FLOAT NOT NULL DEFAULT 60,
    misfire_bound INTEGER NOT NULL DEFAULT 100,
    -- The policy while the task of the previous due time is open.
    overlap TEXT NOT NULL DEFAULT 'allow',
    origin TEXT NOT NULL DEFAULT 'person',
    -- The message of a plain Celery task, for an entry of `beat_schedule`.
    message TEXT,
    next_due_at TEXT,
    last_due_at TEXT,
    last_task_id TEXT,
    last_error TEXT,
    retry_at TEXT,
    created_by TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    version INTEGER NOT NULL DEFAULT 1,
    -- How long after its due time a task may begin; NULL: its tasks do not expire.
    deadline_seconds FLOAT
        CHECK (deadline_seconds IS NULL OR deadline_seconds BETWEEN 0 AND 3153600000),
    CONSTRAINT taskdb_schedule_is_sound CHECK (
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
    ),
    CONSTRAINT taskdb_schedule_is_bounded CHECK (
        length(CAST(tenant AS BLOB)) <= 1000
        AND length(CAST(name AS BLOB)) <= 1000 AND length(CAST(type AS BLOB)) <= 1000
        AND (once_at IS NULL OR once_at LIKE '____-__-__%'
            AND once_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (starts_at IS NULL OR starts_at LIKE '____-__-__%'
            AND starts_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (ends_at IS NULL OR ends_at LIKE '____-__-__%'
            AND ends_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (next_due_at IS NULL OR next_due_at LIKE '____-__-__%'
            AND next_due_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (retry_at IS NULL OR retry_at LIKE '____-__-__%'
            AND retry_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (last_due_at IS NULL OR last_due_at LIKE '____-__-__%'
            AND last_due_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (created_at IS NULL OR created_at LIKE '____-__-__%'
            AND created_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (interval_seconds IS NULL OR interval_seconds <= 3153600000)
        AND (misfire_grace_seconds IS NULL OR misfire_grace_seconds <= 3153600000)
    )
);

CREATE UNIQUE INDEX taskdb_schedule_name ON taskdb_schedule (tenant, name);
CREATE INDEX taskdb_schedule_due ON taskdb_schedule (next_due_at) WHERE is_enabled;

-- A due time that was fired, skipped or missed. The primary key lets it fire once, however many
-- beats run. The rows stay when their schedule is removed.
CREATE TABLE taskdb_schedule_run (
    schedule_id TEXT NOT NULL,
    due_at TEXT NOT NULL,
    outcome TEXT NOT NULL,
    task_id TEXT,
    reason TEXT,
    -- How many due times the row stands for, the last of them at `last_due_at`.
    number INTEGER NOT NULL DEFAULT 1,
    last_due_at TEXT,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- Whether the alarm of a missed due time was raised.
    is_reported BOOLEAN NOT NULL DEFAULT false,
    PRIMARY KEY (schedule_id, due_at),
    CONSTRAINT taskdb_schedule_run_is_sound CHECK (outcome IN ('fired','skipped','missed'))
);

CREATE INDEX taskdb_schedule_run_missed ON taskdb_schedule_run (at)
    WHERE outcome = 'missed' AND NOT is_reported;
-- Old firings, for pruning.
CREATE INDEX taskdb_schedule_run_due ON taskdb_schedule_run (due_at);

-- A declared schedule that was refused. Replaced when the same origin declares again.
CREATE TABLE taskdb_schedule_refusal (
    origin TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    reason TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (origin, name)
);
