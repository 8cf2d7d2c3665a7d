"""Gates and slots, what a worker lists as its own, callbacks, and whether a crash may be repeated.

A *gate* is a rule that tasks of a queue, a type or a tenant pass: it may be shut (paused) or let
only so many run at once, or start in a window. A task that has such a rule, or a mutex key, is
*gated*: it is published only once it has its slots. That a slot is freed when its task is over,
whoever ends it, is the database's business: the triggers below see every move of a gated row, in
the transaction of the move, and cost one that is not gated the look at one column.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
oldest_code = "0001"

TABLES = (
    """
CREATE TABLE gate (
    target TEXT NOT NULL,
    name TEXT NOT NULL,
    is_paused {boolean} NOT NULL DEFAULT false,
    max_running INTEGER,
    max_starts INTEGER,
    window_seconds {number},
    origin TEXT NOT NULL DEFAULT 'person',
    reason TEXT,
    set_by TEXT,
    set_at {moment} NOT NULL DEFAULT {now},
    PRIMARY KEY (target, name),
    CONSTRAINT gate_is_sound CHECK (
        target IN ('queue','type','tenant') AND origin IN ('person','code')
        AND (max_running IS NULL OR max_running > 0)
        AND (max_starts IS NULL) = (window_seconds IS NULL)
        AND (max_starts IS NULL OR (max_starts > 0 AND window_seconds > 0))
    )
)
""",
    # `until` is when a slot of a window is free again; NULL: when its task is over. A slot whose
    # task is over but whose window is not has no task any more.
    """
CREATE TABLE slot (
    key TEXT NOT NULL,
    n INTEGER NOT NULL,
    task_id {uuid},
    seconds {number},
    until {moment},
    taken_at {moment} NOT NULL DEFAULT {now},
    PRIMARY KEY (key, n)
)
""",
)

COLUMNS = {
    "task": (
        "mutex_key TEXT",
        "is_gated {boolean} NOT NULL DEFAULT false",
        "may_rerun {boolean} NOT NULL DEFAULT true",
        "callback_hash TEXT",
        "callback_until {moment}",
        # What the callback said while the body still ran: the status that its end leads to.
        "called_back TEXT",
    ),
    # The claims and messages of the last two beats: what neither lists is not run.
    "worker": (
        "claims {json} NOT NULL DEFAULT '[]'",
        "messages {json} NOT NULL DEFAULT '[]'",
        "listed_at {moment}",
        "claims_before {json} NOT NULL DEFAULT '[]'",
        "listed_before_at {moment}",
    ),
}

INDEXES = (
    "CREATE INDEX slot_task ON slot (task_id) WHERE task_id IS NOT NULL",
    # What is held is not the relay's.
    "DROP INDEX task_relay",
    (
        "CREATE INDEX task_relay ON task (relay_at)"
        " WHERE status IN ('CREATED','SCHEDULED','ERRORED') AND held_by IS NULL"
    ),
    # Only a window's sub-tasks stand behind their parent's window.
    "DROP INDEX task_held",
    "CREATE INDEX task_held ON task (parent_id, position) WHERE held_by = 'window'",
    "DROP INDEX task_busy",
    (
        "CREATE INDEX task_busy ON task (parent_id) WHERE role = 'part'"
        " AND (held_by IS NULL OR held_by <> 'window')"
        " AND status IN ('CREATED','SCHEDULED','QUEUED','STARTED','PROCESSING','ERRORED')"
    ),
    # Gated rows that nobody has looked at since they became ready.
    "CREATE INDEX task_gate ON task (relay_at) WHERE held_by = 'gate'",
    # The line before each rule, in order of arrival.
    (
        "CREATE INDEX task_line ON task (held_by, id)"
        " WHERE held_by IS NOT NULL AND held_by NOT IN ('window','gate')"
    ),
    # Rows whose time to begin, or to be called back, is over.
    (
        "CREATE INDEX task_deadline ON task (deadline_at) WHERE deadline_at IS NOT NULL"
        " AND status IN ('CREATED','SCHEDULED','QUEUED','PROCESSING','ERRORED')"
    ),
    # Whether a row names a file, which may have been written for another one.
    "CREATE INDEX task_input_ref ON task (input_ref) WHERE input_ref IS NOT NULL",
    ("CREATE UNIQUE INDEX task_callback ON task (callback_hash) WHERE callback_hash IS NOT NULL"),
    "CREATE INDEX task_callback_until ON task (callback_until) WHERE waits_for = 'callback'",
)

_IS_OVER = (
    "NEW.is_gated AND (NEW.status NOT IN ('QUEUED','STARTED','PROCESSING')"
    " OR NEW.waits_for IS NOT NULL)"
)
_HAS_STARTED = "NEW.is_gated AND NEW.status = 'STARTED'"
_FREE = (
    "DELETE FROM slot WHERE task_id = NEW.id AND until IS NULL;"
    " UPDATE slot SET task_id = NULL WHERE task_id = NEW.id;"
)
_START = (
    "UPDATE slot SET until = {window_end} WHERE task_id = NEW.id AND seconds IS NOT NULL"
    " AND until IS NULL;"
)

POSTGRESQL = {
    "boolean": "BOOLEAN",
    "number": "DOUBLE PRECISION",
    "uuid": "UUID",
    "json": "JSONB",
    "moment": "TIMESTAMPTZ",
    "now": "clock_timestamp()",
    "window_end": "NEW.started_at + seconds * interval '1 second'",
}

SQLITE = {
    "boolean": "BOOLEAN",
    "number": "FLOAT",
    "uuid": "TEXT",
    "json": "TEXT",
    "moment": "TEXT",
    "now": "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
    "window_end": "strftime('%Y-%m-%dT%H:%M:%fZ', NEW.started_at, seconds || ' seconds')",
}


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    types = POSTGRESQL if is_postgresql else SQLITE
    for statement in TABLES:
        _execute(statement.format(**types))
    for table, columns in COLUMNS.items():
        for column in columns:
            _execute(f"ALTER TABLE {table} ADD COLUMN {column.format(**types)}")
    for statement in INDEXES:
        _execute(statement)
    start = _START.format(**types)
    if is_postgresql:
        _postgresql_trigger(start)
    else:
        _sqlite_trigger("task_frees_slots", _IS_OVER, _FREE)
        _sqlite_trigger("task_starts_slots", _HAS_STARTED, start)


def _postgresql_trigger(start: str) -> None:
    # One trigger with the shortest of conditions: a server reads the text of each one anew for
    # every statement that moves a task, gated or not, which took a tenth of the whole update.
    _execute(
        "CREATE FUNCTION taskdb_task_keeps_slots() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF {_IS_OVER} THEN {_FREE} END IF;"
        f" IF {_HAS_STARTED} THEN {start} END IF; RETURN NULL; END $$"
    )
    _execute(
        "CREATE TRIGGER task_keeps_slots AFTER UPDATE OF status ON task FOR EACH ROW"
        " WHEN (NEW.is_gated) EXECUTE FUNCTION taskdb_task_keeps_slots()"
    )


def _sqlite_trigger(name: str, condition: str, body: str) -> None:
    _execute(
        f"CREATE TRIGGER {name} AFTER UPDATE OF status ON task FOR EACH ROW"
        f" WHEN {condition} BEGIN {body} END"
    )


def _execute(statement: str) -> None:
    op.get_bind().exec_driver_sql(statement)
