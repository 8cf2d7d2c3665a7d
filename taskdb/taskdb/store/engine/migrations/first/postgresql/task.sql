-- A task: one persisted piece of work. `model/status.py` explains its statuses and moves.
--
-- Rows may be inserted by plain SQL: every column that a submit fills has a default.
-- The checks stand in functions: the server reads the text of each check of a table anew for every
-- statement, and compiles a function once a connection.

CREATE FUNCTION taskdb_is_sound(
    type TEXT, kind TEXT, role TEXT, status TEXT, queue TEXT, priority SMALLINT, attempt INTEGER,
    spared INTEGER, waits_for TEXT
) RETURNS BOOLEAN LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN type <> '' AND queue <> '' AND priority BETWEEN 0 AND 9
        AND spared BETWEEN 0 AND attempt
        AND status IN (
            'CREATED','SCHEDULED','QUEUED','STARTED','PROCESSING','FINISHED','COMPLETED','ERRORED',
            'FAILED','HALTED','CANCELED'
        )
        AND kind IN ('TASK','FAN_OUT','SEQUENCE')
        AND (role IS NULL OR role IN ('part','step','handler'))
        -- A parent that is over waits for nothing.
        AND (waits_for IS NULL OR status IN ('PROCESSING','FINISHED'));
END $$;

-- An entry of an index holds 2,704 bytes, all of its columns together. The name of a mutex's wait
-- queue has the tenant, in which some characters become three, and the key. A moment that a program
-- cannot hold would keep every list from being read.
CREATE FUNCTION taskdb_is_bounded(
    tenant TEXT, type TEXT, unique_key TEXT, mutex_key TEXT, relay_at TIMESTAMPTZ,
    run_at TIMESTAMPTZ, deadline_at TIMESTAMPTZ, callback_until TIMESTAMPTZ,
    created_at TIMESTAMPTZ, updated_at TIMESTAMPTZ, queued_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, cancel_requested_at TIMESTAMPTZ
) RETURNS BOOLEAN LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN octet_length(tenant) * 3 + COALESCE(octet_length(mutex_key), 0) <= 2600
        AND (unique_key IS NULL
            OR octet_length(tenant) + octet_length(type) + octet_length(unique_key) <= 2600)
        AND (relay_at IS NULL OR relay_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (run_at IS NULL OR run_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (deadline_at IS NULL OR deadline_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (callback_until IS NULL
            OR callback_until BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (created_at IS NULL OR created_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (updated_at IS NULL OR updated_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (queued_at IS NULL OR queued_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (started_at IS NULL OR started_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (ended_at IS NULL OR ended_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z')
        AND (cancel_requested_at IS NULL
            OR cancel_requested_at BETWEEN '0001-01-02 00:00Z' AND '9999-01-01 00:00Z');
END $$;

CREATE TABLE taskdb_task (
    id UUID NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant TEXT NOT NULL DEFAULT '',
    type TEXT NOT NULL,
    kind TEXT NOT NULL DEFAULT 'TASK',
    role TEXT,
    name TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'CREATED',
    queue TEXT NOT NULL DEFAULT 'taskdb',
    priority SMALLINT NOT NULL DEFAULT 5,
    input JSONB,
    -- `…_ref` names a file of the payload store, for a value too large for the row.
    input_ref TEXT,
    result JSONB,
    result_ref TEXT,
    error JSONB,
    attributes JSONB NOT NULL DEFAULT '{}',
    tags JSONB NOT NULL DEFAULT '[]',
    progress_current BIGINT,
    progress_total BIGINT,
    progress_message TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    -- Attempts that do not count: the budget is `attempt - spared`.
    spared INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    -- Deliveries to a worker that did not know the type.
    unregistered INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER,
    unique_key TEXT,
    parent_id UUID,
    position BIGINT,
    -- The item whose message carries this one too.
    chunk UUID,
    -- The definition of the sub-tasks of a parent.
    spec JSONB,
    waits_for TEXT,
    -- The first limit, mutex or pause that holds the task.
    held_by TEXT,
    worker TEXT,
    claim_token TEXT,
    request_id TEXT,
    created_by TEXT,
    created_ip TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    run_at TIMESTAMPTZ,
    deadline_at TIMESTAMPTZ,
    -- When the relay checks the row next.
    relay_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    queued_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ,
    ended_at TIMESTAMPTZ,
    cancel_requested_at TIMESTAMPTZ,
    mutex_key TEXT,
    -- Whether a limit or a mutex applies: the task is published only once it has its slots.
    needs_admission BOOLEAN NOT NULL DEFAULT false,
    -- Whether a run that crashed may be repeated.
    may_rerun BOOLEAN NOT NULL DEFAULT true,
    callback_hash TEXT,
    callback_until TIMESTAMPTZ,
    -- The status that a callback reported while the body still ran; the end leads to it.
    called_back TEXT,
    -- A task of a Celery app that is only watched: no statement moves or publishes it.
    is_adopted BOOLEAN NOT NULL DEFAULT false,
    -- The id that notifications carry in place of the task's own.
    notify_id TEXT,
    -- The trace that the task continues, in the form of W3C.
    trace TEXT,
    CONSTRAINT taskdb_task_is_sound CHECK (taskdb_is_sound(
        type, kind, role, status, queue, priority, attempt, spared, waits_for
    )),
    CONSTRAINT taskdb_task_is_bounded CHECK (taskdb_is_bounded(
        tenant, type, unique_key, mutex_key, relay_at, run_at, deadline_at, callback_until,
        created_at, updated_at, queued_at, started_at, ended_at, cancel_requested_at
    ))
) WITH (fillfactor = 80);

-- Every move writes a new version of its row, and an entry in each index whose WHERE it meets: the
-- fewer, the cheaper.

-- Insert: ON CONFLICT, and the row that has the key.
CREATE UNIQUE INDEX taskdb_task_unique_key ON taskdb_task (tenant, type, unique_key)
    WHERE unique_key IS NOT NULL;
-- The relay. It takes nothing that is held.
CREATE INDEX taskdb_task_relay ON taskdb_task (relay_at)
    WHERE status IN ('CREATED','SCHEDULED','ERRORED') AND held_by IS NULL;
-- Sub-tasks of a parent, by position.
CREATE INDEX taskdb_task_parent ON taskdb_task (parent_id, position) WHERE parent_id IS NOT NULL;
-- Whether a sub-task is open, and how many have each status.
CREATE INDEX taskdb_task_parent_status ON taskdb_task (parent_id, role, status)
    WHERE parent_id IS NOT NULL;
-- The next sub-tasks that a parent's window releases.
CREATE INDEX taskdb_task_held ON taskdb_task (parent_id, position) WHERE held_by = 'window';
-- How many places of a window are taken.
CREATE INDEX taskdb_task_busy ON taskdb_task (parent_id) WHERE role = 'part'
    AND (held_by IS NULL OR held_by <> 'window')
    AND status IN ('CREATED','SCHEDULED','QUEUED','STARTED','PROCESSING','ERRORED');
-- The items of one message.
CREATE INDEX taskdb_task_chunk ON taskdb_task (chunk) WHERE chunk IS NOT NULL;
-- Parents that wait, for the loop that ends them.
CREATE INDEX taskdb_task_waiting ON taskdb_task (id) WHERE waits_for IS NOT NULL;
-- Pages and bulk verbs over all tenants, and over sub-tasks.
CREATE INDEX taskdb_task_created ON taskdb_task (created_at, id);
-- Pages of one tenant.
CREATE INDEX taskdb_task_tenant ON taskdb_task (tenant, created_at, id) WHERE parent_id IS NULL;
-- Pages by status, rescue, and the tasks of a worker: few rows are open, or ended badly.
CREATE INDEX taskdb_task_open ON taskdb_task (status, created_at, id) WHERE status <> 'COMPLETED';
-- Rows with a limit or a mutex that the release loop has not looked at since they became ready.
CREATE INDEX taskdb_task_admission ON taskdb_task (relay_at) WHERE held_by = 'admission';
-- The wait queue of each limit, mutex or pause, in order of arrival.
CREATE INDEX taskdb_task_wait_queue ON taskdb_task (held_by, id)
    WHERE held_by IS NOT NULL AND held_by NOT IN ('window','admission');
-- Rows whose time to begin, or to be called back, is over.
CREATE INDEX taskdb_task_deadline ON taskdb_task (deadline_at) WHERE deadline_at IS NOT NULL
    AND status IN ('CREATED','SCHEDULED','QUEUED','PROCESSING','ERRORED');
-- Whether a row names a file, which may have been written for another one.
CREATE INDEX taskdb_task_input_ref ON taskdb_task (input_ref) WHERE input_ref IS NOT NULL;
CREATE UNIQUE INDEX taskdb_task_callback ON taskdb_task (callback_hash)
    WHERE callback_hash IS NOT NULL;
CREATE INDEX taskdb_task_callback_until ON taskdb_task (callback_until)
    WHERE waits_for = 'callback';
-- Adopted tasks that may have been lost from sight.
CREATE INDEX taskdb_task_adopted ON taskdb_task (status, updated_at) WHERE is_adopted
    AND status IN ('CREATED','SCHEDULED','QUEUED','STARTED','ERRORED');
