-- Admission: limits and pauses, and the slots that tasks with a limit or a mutex hold.

-- A limit or a pause of a queue, a type or a tenant. Target `own`: a tenant sets it for itself.
CREATE TABLE taskdb_limit (
    target TEXT NOT NULL,
    name TEXT NOT NULL,
    is_paused BOOLEAN NOT NULL DEFAULT false,
    max_running INTEGER,
    -- The most starts in each window.
    max_starts INTEGER,
    window_seconds FLOAT,
    origin TEXT NOT NULL DEFAULT 'person',
    reason TEXT,
    set_by TEXT,
    set_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (target, name),
    CONSTRAINT taskdb_limit_is_sound CHECK (
        target IN ('queue','type','tenant','own') AND origin IN ('person','code')
        AND (max_running IS NULL OR max_running > 0)
        AND (max_starts IS NULL) = (window_seconds IS NULL)
        AND (max_starts IS NULL OR (max_starts > 0 AND window_seconds > 0))
    ),
    CONSTRAINT taskdb_limit_is_bounded CHECK (
        length(CAST(name AS BLOB)) <= 1000
        AND (window_seconds IS NULL OR window_seconds <= 3153600000)
    )
);

-- Place `n` of a limit, a mutex or a window, and the task that has it. `until` is when a place of a
-- window of time is free again; NULL: when its task is over. A slot whose task is over but whose
-- window is not has no task any more.
CREATE TABLE taskdb_slot (
    key TEXT NOT NULL,
    n INTEGER NOT NULL,
    task_id TEXT,
    seconds FLOAT,
    until TEXT,
    taken_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (key, n)
);

CREATE INDEX taskdb_slot_task ON taskdb_slot (task_id) WHERE task_id IS NOT NULL;

-- A place of a limit that is kept free for a task that waits for another limit.
CREATE TABLE taskdb_reservation (
    key TEXT NOT NULL,
    task_id TEXT NOT NULL,
    PRIMARY KEY (key, task_id)
);

CREATE INDEX taskdb_reservation_task ON taskdb_reservation (task_id);

-- The database frees the slots of a task that is over, in the transaction of any move that ends
-- it.
CREATE TRIGGER taskdb_task_frees_slots AFTER UPDATE OF status ON taskdb_task FOR EACH ROW
WHEN NEW.needs_admission AND (NEW.status NOT IN ('QUEUED','STARTED','PROCESSING')
    OR NEW.waits_for IS NOT NULL)
BEGIN
    DELETE FROM taskdb_slot WHERE task_id = NEW.id AND until IS NULL;
    UPDATE taskdb_slot SET task_id = NULL WHERE task_id = NEW.id;
END;

CREATE TRIGGER taskdb_task_starts_slots AFTER UPDATE OF status ON taskdb_task FOR EACH ROW
WHEN NEW.needs_admission AND NEW.status = 'STARTED'
BEGIN
    UPDATE taskdb_slot
        SET until = strftime('%Y-%m-%dT%H:%M:%fZ', NEW.started_at, seconds || ' seconds')
        WHERE task_id = NEW.id AND seconds IS NOT NULL AND until IS NULL;
END;
