-- The history: one append-only row a move.

-- The check lists every move that the state machine allows; equal statuses are a remark, NULL is
-- the creation. An id is never given twice, so the id alone is a reader's cursor.
CREATE TABLE taskdb_event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    xid BIGINT NOT NULL DEFAULT 0,
    task_id TEXT NOT NULL,
    tenant TEXT NOT NULL DEFAULT '',
    from_status TEXT,
    to_status TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    detail TEXT,
    CONSTRAINT taskdb_event_is_move CHECK (
        (from_status IS NULL AND to_status IN ('CREATED', 'SCHEDULED'))
        OR (from_status IS NOT NULL AND to_status IN (
            'CREATED','SCHEDULED','QUEUED','STARTED','PROCESSING','FINISHED','COMPLETED','ERRORED',
            'FAILED','HALTED','CANCELED'
        ) AND (
            from_status = to_status
            OR (from_status = 'CREATED' AND to_status IN (
                'QUEUED', 'STARTED', 'PROCESSING', 'FAILED', 'HALTED', 'CANCELED'
            ))
            OR (from_status = 'SCHEDULED' AND to_status IN (
                'CREATED', 'QUEUED', 'STARTED', 'FAILED', 'HALTED', 'CANCELED'
            ))
            OR (from_status = 'QUEUED' AND to_status IN (
                'CREATED', 'STARTED', 'FAILED', 'HALTED', 'CANCELED'
            ))
            OR (from_status = 'STARTED' AND to_status IN (
                'CREATED', 'SCHEDULED', 'PROCESSING', 'FINISHED', 'COMPLETED', 'ERRORED',
                'FAILED', 'HALTED', 'CANCELED'
            ))
            OR (from_status = 'PROCESSING' AND to_status IN (
                'CREATED', 'SCHEDULED', 'FINISHED', 'COMPLETED', 'ERRORED', 'FAILED', 'HALTED',
                'CANCELED'
            ))
            OR (from_status = 'FINISHED' AND to_status IN ('COMPLETED', 'FAILED', 'CANCELED'))
            OR (from_status = 'ERRORED' AND to_status IN (
                'CREATED', 'QUEUED', 'STARTED', 'FAILED', 'HALTED', 'CANCELED'
            ))
            OR (from_status = 'HALTED' AND to_status IN ('CREATED', 'SCHEDULED', 'CANCELED'))
            OR (from_status = 'COMPLETED' AND to_status IN ('CREATED'))
            OR (from_status = 'FAILED' AND to_status IN ('CREATED', 'SCHEDULED'))
            OR (from_status = 'CANCELED' AND to_status IN ('CREATED'))
        ))
    )
);

CREATE INDEX taskdb_event_task ON taskdb_event (task_id, id);
CREATE INDEX taskdb_event_cursor ON taskdb_event (xid, id);
-- Events that may raise an alarm. A task that ends well has none here.
CREATE INDEX taskdb_event_bad ON taskdb_event (xid, id)
    WHERE to_status IN ('FAILED','HALTED') AND from_status <> to_status;
