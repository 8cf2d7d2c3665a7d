-- A worker process: one row a boot.

CREATE TABLE taskdb_worker (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    queues JSONB NOT NULL DEFAULT '[]',
    types JSONB NOT NULL DEFAULT '[]',
    release TEXT NOT NULL DEFAULT '',
    started_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    seen_at TIMESTAMPTZ,
    stopped_at TIMESTAMPTZ,
    -- The claims and messages of the last two heartbeats. A task in neither does not run.
    claims JSONB NOT NULL DEFAULT '[]',
    messages JSONB NOT NULL DEFAULT '[]',
    listed_at TIMESTAMPTZ,
    claims_before JSONB NOT NULL DEFAULT '[]',
    listed_before_at TIMESTAMPTZ,
    -- Why the worker waits.
    waiting TEXT,
    CONSTRAINT taskdb_worker_is_bounded CHECK (
        (started_at IS NULL OR started_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (seen_at IS NULL OR seen_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (stopped_at IS NULL OR stopped_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
    )
);

-- Workers long gone: the moment of a stop does not change, and that of a heartbeat is in no index.
CREATE INDEX taskdb_worker_stopped ON taskdb_worker (stopped_at) WHERE stopped_at IS NOT NULL;
CREATE INDEX taskdb_worker_open ON taskdb_worker (started_at) WHERE stopped_at IS NULL;
-- Whether a newer boot has taken the place of one that is lost.
CREATE INDEX taskdb_worker_name ON taskdb_worker (name, started_at);
