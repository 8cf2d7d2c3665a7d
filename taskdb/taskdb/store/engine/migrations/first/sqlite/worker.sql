-- A worker process: one row a boot.

CREATE TABLE taskdb_worker (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    queues TEXT NOT NULL DEFAULT '[]',
    types TEXT NOT NULL DEFAULT '[]',
    release TEXT NOT NULL DEFAULT '',
    started_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    seen_at TEXT,
    stopped_at TEXT,
    -- The claims and messages of the last two heartbeats. A task in neither does not run.
    claims TEXT NOT NULL DEFAULT '[]',
    messages TEXT NOT NULL DEFAULT '[]',
    listed_at TEXT,
    claims_before TEXT NOT NULL DEFAULT '[]',
    listed_before_at TEXT,
    -- Why the worker waits.
    waiting TEXT,
    CONSTRAINT taskdb_worker_is_bounded CHECK (
        (started_at IS NULL OR started_at LIKE '____-__-__%'
            AND started_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (seen_at IS NULL OR seen_at LIKE '____-__-__%'
            AND seen_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
        AND (stopped_at IS NULL OR stopped_at LIKE '____-__-__%'
            AND stopped_at BETWEEN '0001-01-02T00:00:00.000Z' AND '9999-01-01T00:00:00.000Z')
    )
);

-- Workers long gone: the moment of a stop does not change, and that of a heartbeat is in no index.
CREATE INDEX taskdb_worker_stopped ON taskdb_worker (stopped_at) WHERE stopped_at IS NOT NULL;
CREATE INDEX taskdb_worker_open ON taskdb_worker (started_at) WHERE stopped_at IS NULL;
-- Whether a newer boot has taken the place of one that is lost.
CREATE INDEX taskdb_worker_name ON taskdb_worker (name, started_at);
