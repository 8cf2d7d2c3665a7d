"""The cluster whose transaction ids the history counts, and indexes for what upkeep looks for.

`history_cluster` has one row. `shift` is added to the id of a transaction to give the xid of its
events; the default of `task_event.xid` has the same number in it. `left_shift`, `left_xid` and
`left_at` are set while events that were written with an older shift have to be moved. SQLite
counts events and no transactions: its row stays as it is.

Code that is older than this lives with it: until a restore the shift is 0.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
oldest_code = "0013"

TABLE = """
CREATE TABLE history_cluster (
    id INTEGER NOT NULL PRIMARY KEY DEFAULT 1,
    identity TEXT,
    shift BIGINT NOT NULL DEFAULT 0,
    left_shift BIGINT,
    left_xid BIGINT,
    left_at {moment},
    changed_at {moment} NOT NULL DEFAULT {now},
    CONSTRAINT history_cluster_is_one_row CHECK (id = 1)
)
"""

# A role without the right, and a server that does without these functions, has no identity: an xid
# that is ahead of the cluster tells of a restore as well. A server that follows another one writes
# nothing, so it is asked nothing.
IDENTITY = """
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
END $$
"""

INDEXES = (
    # Old firings of schedules.
    "CREATE INDEX schedule_run_due ON schedule_run (due_at)",
    # Workers long gone: the moment of a stop does not change, and that of a beat is in no index.
    "CREATE INDEX worker_stopped ON worker (stopped_at) WHERE stopped_at IS NOT NULL",
    # Messages of alarms that were sent long ago.
    "CREATE INDEX alarm_delivery_sent ON alarm_delivery (sent_at) WHERE sent_at IS NOT NULL",
    "CREATE INDEX worker_open ON worker (started_at) WHERE stopped_at IS NULL",
    # Whether a newer boot has taken the place of one that is lost.
    "CREATE INDEX worker_name ON worker (name, started_at)",
)

POSTGRESQL = {"moment": "TIMESTAMPTZ", "now": "clock_timestamp()"}
SQLITE = {"moment": "TEXT", "now": "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"}


def upgrade() -> None:
    bind = op.get_bind()
    is_postgresql = bind.dialect.name == "postgresql"
    bind.exec_driver_sql(TABLE.format(**(POSTGRESQL if is_postgresql else SQLITE)))
    bind.exec_driver_sql("INSERT INTO history_cluster (id) VALUES (1)")
    for statement in (*([IDENTITY] if is_postgresql else []), *INDEXES):
        bind.exec_driver_sql(statement)
