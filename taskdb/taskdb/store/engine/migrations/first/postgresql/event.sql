-- The history: one append-only row a move. Partitioned by day, with a default partition for days
-- that nothing created in time. `xid` lets a reader stop below the oldest open transaction.

-- Every move that the state machine allows; equal statuses are a remark, NULL is the creation.
-- The check is one search in a text: a condition of many terms takes longer to set up.
CREATE FUNCTION taskdb_is_move(from_status TEXT, to_status TEXT)
RETURNS BOOLEAN LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN CASE WHEN from_status IS NULL THEN to_status IN ('CREATED', 'SCHEDULED')
        -- A text that spans two of them is longer than any.
        ELSE length(from_status) + length(to_status) <= 20 AND strpos(
            '[CREATED>CREATED][SCHEDULED>SCHEDULED][QUEUED>QUEUED][STARTED>STARTED]'
            || '[PROCESSING>PROCESSING][FINISHED>FINISHED][COMPLETED>COMPLETED]'
            || '[ERRORED>ERRORED][FAILED>FAILED][HALTED>HALTED][CANCELED>CANCELED]'
            || '[CREATED>QUEUED][CREATED>STARTED][CREATED>PROCESSING][CREATED>FAILED]'
            || '[CREATED>HALTED][CREATED>CANCELED]'
            || '[SCHEDULED>CREATED][SCHEDULED>QUEUED][SCHEDULED>STARTED][SCHEDULED>FAILED]'
            || '[SCHEDULED>HALTED][SCHEDULED>CANCELED]'
            || '[QUEUED>CREATED][QUEUED>STARTED][QUEUED>FAILED][QUEUED>HALTED]'
            || '[QUEUED>CANCELED]'
            || '[STARTED>CREATED][STARTED>SCHEDULED][STARTED>PROCESSING][STARTED>FINISHED]'
            || '[STARTED>COMPLETED][STARTED>ERRORED][STARTED>FAILED][STARTED>HALTED]'
            || '[STARTED>CANCELED]'
            || '[PROCESSING>CREATED][PROCESSING>SCHEDULED][PROCESSING>FINISHED]'
            || '[PROCESSING>COMPLETED][PROCESSING>ERRORED][PROCESSING>FAILED]'
            || '[PROCESSING>HALTED][PROCESSING>CANCELED]'
            || '[FINISHED>COMPLETED][FINISHED>FAILED][FINISHED>CANCELED]'
            || '[ERRORED>CREATED][ERRORED>QUEUED][ERRORED>STARTED][ERRORED>FAILED]'
            || '[ERRORED>HALTED][ERRORED>CANCELED]'
            || '[HALTED>CREATED][HALTED>SCHEDULED][HALTED>CANCELED]'
            || '[COMPLETED>CREATED]'
            || '[FAILED>CREATED][FAILED>SCHEDULED]'
            || '[CANCELED>CREATED]'
            , '[' || from_status || '>' || to_status || ']') > 0 END;
END $$;

CREATE TABLE taskdb_event (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    xid BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    task_id UUID NOT NULL,
    tenant TEXT NOT NULL DEFAULT '',
    from_status TEXT,
    to_status TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    detail JSONB,
    CONSTRAINT taskdb_event_is_move CHECK (taskdb_is_move(from_status, to_status)),
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);

CREATE TABLE taskdb_event_default PARTITION OF taskdb_event DEFAULT;

CREATE INDEX taskdb_event_task ON taskdb_event (task_id, id);
CREATE INDEX taskdb_event_cursor ON taskdb_event (xid, id);
-- Events that may raise an alarm. A task that ends well has none here.
CREATE INDEX taskdb_event_bad ON taskdb_event (xid, id)
    WHERE to_status IN ('FAILED','HALTED') AND from_status <> to_status;

-- The identity of the cluster; NULL for a role without the right, and on a server without these
-- functions: an xid ahead of the cluster also shows a restore. A standby writes nothing, so it
-- needs no identity.
CREATE FUNCTION taskdb_cluster_identity() RETURNS TEXT LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT CAST(system_identifier AS TEXT) FROM pg_control_system())
        || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
EXCEPTION
    WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
        RETURN NULL;
END $$;

-- The role of the application, workers and beats reads and writes rows and changes no table. A beat
-- changes tables by the functions below, which run with the rights of their owner. The search path
-- of each is fixed, so that no table of the caller can replace ours. `taskdb grants` lets the
-- application's role call them; without it only the owner may.

-- The caller has checked the size of the default partition. A far day would never be used.
CREATE FUNCTION taskdb_create_partition(day DATE) RETURNS TEXT LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    name TEXT := 'taskdb_event_' || to_char(day, 'YYYYMMDD');
    starts TEXT := quote_literal(CAST(day AS TIMESTAMP) AT TIME ZONE 'UTC');
    ends TEXT := quote_literal(CAST(day + 1 AS TIMESTAMP) AT TIME ZONE 'UTC');
BEGIN
    IF day < CURRENT_DATE - 2 OR day > CURRENT_DATE + 31 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'no partition for ' || day || ': it is not within the next 31 days';
    END IF;
    LOCK TABLE taskdb_event_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE 'CREATE TABLE ' || quote_ident(name)
        || ' (LIKE taskdb_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS)';
    EXECUTE 'WITH early AS (DELETE FROM taskdb_event_default WHERE at >= ' || starts
        || ' AND at < ' || ends || ' RETURNING *) INSERT INTO ' || quote_ident(name)
        || ' SELECT * FROM early';
    EXECUTE 'ALTER TABLE taskdb_event ATTACH PARTITION ' || quote_ident(name)
        || ' FOR VALUES FROM (' || starts || ') TO (' || ends || ')';
    RETURN name;
END $$;

CREATE FUNCTION taskdb_drop_partition(partition TEXT) RETURNS BOOLEAN LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    is_empty BOOLEAN;
BEGIN
    -- The history first: readers lock it before its days, and each would wait for the other.
    LOCK TABLE ONLY taskdb_event IN ACCESS EXCLUSIVE MODE;
    PERFORM 1 FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = CAST('taskdb_event' AS REGCLASS) AND relname = partition
        AND relname ~ '^taskdb_event_[0-9]{8}$';
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    EXECUTE 'SELECT NOT EXISTS (SELECT 1 FROM ' || quote_ident(partition) || ')' INTO is_empty;
    IF is_empty THEN
        EXECUTE 'DROP TABLE ' || quote_ident(partition);
    END IF;
    RETURN is_empty;
END $$;

CREATE FUNCTION taskdb_shift_history(shift BIGINT) RETURNS VOID LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    EXECUTE 'ALTER TABLE ONLY taskdb_event ALTER COLUMN xid SET DEFAULT'
        || ' (CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT) + ' || shift || ')';
END $$;

REVOKE ALL ON FUNCTION taskdb_create_partition(DATE) FROM PUBLIC;
REVOKE ALL ON FUNCTION taskdb_drop_partition(TEXT) FROM PUBLIC;
REVOKE ALL ON FUNCTION taskdb_shift_history(BIGINT) FROM PUBLIC;
