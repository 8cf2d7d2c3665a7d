"""Functions that change the tables of the history, for a role that does not own them.

The owner of the schema migrates. The application, workers and beats may then have a role that reads
and writes rows and changes no table. What a beat has to change (partitions, the default of a
column) stands in functions that run with the rights of their owner. Each one works on the history
alone: its search path is fixed, so that no table of the caller can stand in for ours. `taskdb
grants` lets the application's role call them; without it the owner alone may.

Code that is older than this does the same work by statements of its own, and lives with it.
"""

from alembic import op

revision = "0020"
down_revision = "0017"
oldest_code = "0017"

_SIGNATURES = (
    "taskdb_create_partition(DATE)",
    "taskdb_drop_partition(TEXT)",
    "taskdb_shift_history(BIGINT)",
)

# The caller has checked the size of the default partition. A far day would never be used.
_CREATE = """
CREATE FUNCTION {schema}.taskdb_create_partition(day DATE) RETURNS TEXT LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    name TEXT := 'task_event_' || to_char(day, 'YYYYMMDD');
    starts TEXT := quote_literal(CAST(day AS TIMESTAMP) AT TIME ZONE 'UTC');
    ends TEXT := quote_literal(CAST(day + 1 AS TIMESTAMP) AT TIME ZONE 'UTC');
BEGIN
    IF day < CURRENT_DATE - 2 OR day > CURRENT_DATE + 31 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'no partition for ' || day || ': it is not within the next 31 days';
    END IF;
    LOCK TABLE task_event_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE 'CREATE TABLE ' || quote_ident(name)
        || ' (LIKE task_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS)';
    EXECUTE 'WITH early AS (DELETE FROM task_event_default WHERE at >= ' || starts
        || ' AND at < ' || ends || ' RETURNING *) INSERT INTO ' || quote_ident(name)
        || ' SELECT * FROM early';
    EXECUTE 'ALTER TABLE task_event ATTACH PARTITION ' || quote_ident(name)
        || ' FOR VALUES FROM (' || starts || ') TO (' || ends || ')';
    RETURN name;
END $$
"""

_DROP = """
CREATE FUNCTION {schema}.taskdb_drop_partition(partition TEXT) RETURNS BOOLEAN LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    is_empty BOOLEAN;
BEGIN
    -- The history first: readers lock it before its days, and each would wait for the other.
    LOCK TABLE ONLY task_event IN ACCESS EXCLUSIVE MODE;
    PERFORM 1 FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = CAST('task_event' AS REGCLASS) AND relname = partition
        AND relname ~ '^task_event_[0-9]{{8}}$';
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    EXECUTE 'SELECT NOT EXISTS (SELECT 1 FROM ' || quote_ident(partition) || ')' INTO is_empty;
    IF is_empty THEN
        EXECUTE 'DROP TABLE ' || quote_ident(partition);
    END IF;
    RETURN is_empty;
END $$
"""

_SHIFT = """
CREATE FUNCTION {schema}.taskdb_shift_history(shift BIGINT) RETURNS VOID LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    EXECUTE 'ALTER TABLE ONLY task_event ALTER COLUMN xid SET DEFAULT'
        || ' (CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT) + ' || shift || ')';
END $$
"""


def upgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name != "postgresql":
        return
    schema = bind.exec_driver_sql(
        "SELECT CAST(CAST(relnamespace AS REGNAMESPACE) AS TEXT) FROM pg_class"
        " WHERE oid = to_regclass('task_event')"
    ).scalar_one()
    for statement in (_CREATE, _DROP, _SHIFT):
        bind.exec_driver_sql(statement.format(schema=schema))
    for signature in _SIGNATURES:
        bind.exec_driver_sql(f"REVOKE ALL ON FUNCTION {schema}.{signature} FROM PUBLIC")
