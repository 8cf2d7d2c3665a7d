"""Tasks, their history, and the workers that run them.

On PostgreSQL the history is partitioned by day from the start, with a default partition for days
that nobody made in time; `xid` lets a reader stop below the oldest open transaction. Rows may be
inserted by plain SQL: every column that submit fills has a server default. The lists of statuses
and moves are spelled out, since a migration must not change when the code does.

On PostgreSQL the checks stand in functions: a server reads the text of every check of a table anew
for each statement, which for the list of moves took twice as long as the insert itself; a function
is compiled once a connection.
"""

from alembic import op

revision = "0001"
down_revision = None
oldest_code = "0001"

STATUSES = (
    "'CREATED','SCHEDULED','QUEUED','STARTED','PROCESSING','FINISHED','COMPLETED','ERRORED',"
    "'FAILED','HALTED','CANCELED'"
)

# Every pair that a verb of the machine allows; equal ones are remarks, NULL is the creation.
MOVES = (
    ("CREATED", "QUEUED,STARTED,PROCESSING,FAILED,HALTED,CANCELED"),
    ("SCHEDULED", "CREATED,QUEUED,STARTED,FAILED,HALTED,CANCELED"),
    ("QUEUED", "CREATED,STARTED,FAILED,HALTED,CANCELED"),
    (
        "STARTED",
        "CREATED,SCHEDULED,PROCESSING,FINISHED,COMPLETED,ERRORED,FAILED,HALTED,CANCELED",
    ),
    (
        "PROCESSING",
        "CREATED,SCHEDULED,FINISHED,COMPLETED,ERRORED,FAILED,HALTED,CANCELED",
    ),
    ("FINISHED", "COMPLETED,FAILED,CANCELED"),
    ("ERRORED", "CREATED,QUEUED,STARTED,FAILED,HALTED,CANCELED"),
    ("HALTED", "CREATED,CANCELED"),
    ("COMPLETED", "CREATED"),
    ("FAILED", "CREATED"),
    ("CANCELED", "CREATED"),
)

TASK = """
CREATE TABLE task (
    id {uuid} NOT NULL PRIMARY KEY DEFAULT {new_id},
    tenant TEXT NOT NULL DEFAULT '',
    type TEXT NOT NULL,
    kind TEXT NOT NULL DEFAULT 'TASK',
    role TEXT,
    name TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'CREATED',
    queue TEXT NOT NULL DEFAULT 'taskdb',
    priority SMALLINT NOT NULL DEFAULT 5,
    input {json},
    input_ref TEXT,
    result {json},
    result_ref TEXT,
    error {json},
    attributes {json} NOT NULL DEFAULT '{{}}',
    tags {json} NOT NULL DEFAULT '[]',
    progress_current BIGINT,
    progress_total BIGINT,
    progress_message TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    spared INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    unregistered INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER,
    unique_key TEXT,
    parent_id {uuid},
    position BIGINT,
    chunk {uuid},
    spec {json},
    waits_for TEXT,
    held_by TEXT,
    worker TEXT,
    claim_token TEXT,
    request_id TEXT,
    created_by TEXT,
    created_ip TEXT,
    created_at {moment} NOT NULL DEFAULT {now},
    updated_at {moment} NOT NULL DEFAULT {now},
    run_at {moment},
    deadline_at {moment},
    relay_at {moment} NOT NULL DEFAULT {now},
    queued_at {moment},
    started_at {moment},
    ended_at {moment},
    cancel_requested_at {moment},
    CONSTRAINT task_is_sound CHECK ({sound})
){options}
"""

# The arguments of a check, and what must hold of them.
SOUND = (
    {
        "type": "TEXT",
        "kind": "TEXT",
        "role": "TEXT",
        "status": "TEXT",
        "queue": "TEXT",
        "priority": "SMALLINT",
        "attempt": "INTEGER",
        "spared": "INTEGER",
        "waits_for": "TEXT",
    },
    (
        "type <> '' AND queue <> '' AND priority BETWEEN 0 AND 9 AND spared BETWEEN 0 AND attempt"
        f" AND status IN ({STATUSES}) AND kind IN ('TASK','FAN_OUT','SEQUENCE')"
        " AND (role IS NULL OR role IN ('part','step','handler'))"
        # A parent that is over waits for nobody.
        " AND (waits_for IS NULL OR status IN ('PROCESSING','FINISHED'))"
    ),
)

# Every move writes a new version of its row, and an entry in each of these whose WHERE it meets:
# the fewer, the cheaper.
INDEXES = (
    # The insert: ON CONFLICT, and finding who has the key.
    (
        "CREATE UNIQUE INDEX task_unique_key ON task (tenant, type, unique_key)"
        " WHERE unique_key IS NOT NULL"
    ),
    # lease_due.
    "CREATE INDEX task_relay ON task (relay_at) WHERE status IN ('CREATED','SCHEDULED','ERRORED')",
    # Sub-tasks of a parent, by position.
    "CREATE INDEX task_parent ON task (parent_id, position) WHERE parent_id IS NOT NULL",
    # Whether a sub-task is open, and how many are where.
    (
        "CREATE INDEX task_parent_status ON task (parent_id, role, status)"
        " WHERE parent_id IS NOT NULL"
    ),
    # The next sub-tasks that a parent's window lets go.
    "CREATE INDEX task_held ON task (parent_id, position) WHERE held_by IS NOT NULL",
    # How many places of a window are taken.
    (
        "CREATE INDEX task_busy ON task (parent_id) WHERE held_by IS NULL AND role = 'part'"
        " AND status IN ('CREATED','SCHEDULED','QUEUED','STARTED','PROCESSING','ERRORED')"
    ),
    # The items of one message.
    "CREATE INDEX task_chunk ON task (chunk) WHERE chunk IS NOT NULL",
    # Parents that wait, for the loop that sees that they end.
    "CREATE INDEX task_waiting ON task (id) WHERE waits_for IS NOT NULL",
    # Pages and bulk verbs over all tenants, and over sub-tasks.
    "CREATE INDEX task_created ON task (created_at, id)",
    # Pages of one tenant.
    "CREATE INDEX task_tenant ON task (tenant, created_at, id) WHERE parent_id IS NULL",
    # Pages by status, rescue, and what a worker holds: few rows are not over, or ended badly.
    "CREATE INDEX task_open ON task (status, created_at, id) WHERE status <> 'COMPLETED'",
)

EVENT = """
CREATE TABLE task_event (
    id {identity},
    xid BIGINT NOT NULL DEFAULT {xid},
    task_id {uuid} NOT NULL,
    tenant TEXT NOT NULL DEFAULT '',
    from_status TEXT,
    to_status TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    at {moment} NOT NULL DEFAULT {now},
    detail {json},
    CONSTRAINT task_event_is_move CHECK ({is_move}){key}
){options}
"""

EVENT_INDEXES = (
    "CREATE INDEX task_event_task ON task_event (task_id, id)",
    "CREATE INDEX task_event_cursor ON task_event (xid, id)",
)

WORKER = """
CREATE TABLE worker (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    queues {json} NOT NULL DEFAULT '[]',
    types {json} NOT NULL DEFAULT '[]',
    release TEXT NOT NULL DEFAULT '',
    started_at {moment} NOT NULL DEFAULT {now},
    seen_at {moment},
    stopped_at {moment}
)
"""

POSTGRESQL = {
    "uuid": "UUID",
    "new_id": "gen_random_uuid()",
    "json": "JSONB",
    "moment": "TIMESTAMPTZ",
    "now": "clock_timestamp()",
    "identity": "BIGINT GENERATED ALWAYS AS IDENTITY",
    "xid": "(pg_current_xact_id()::text::bigint)",
}

SQLITE = {
    "uuid": "TEXT",
    "new_id": (
        "(lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' ||"
        " substr(hex(randomblob(2)), 2) || '-' || substr('89ab', 1 + (abs(random()) % 4), 1) ||"
        " substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))))"
    ),
    "json": "TEXT",
    "moment": "TEXT",
    "now": "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
    "identity": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "xid": "0",
}


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _create(
            POSTGRESQL,
            {
                "sound": _function("taskdb_is_sound", *SOUND),
                "is_move": _function("taskdb_is_move", *_is_listed_move()),
            },
            task_options=" WITH (fillfactor = 80)",
            key=", PRIMARY KEY (id, at)",
            event_options=" PARTITION BY RANGE (at)",
        )
        _execute("CREATE TABLE task_event_default PARTITION OF task_event DEFAULT")
    else:
        checks = {"sound": SOUND[1], "is_move": _is_move()[1]}
        _create(SQLITE, checks, task_options="", key="", event_options="")


def _create(
    types: dict[str, str],
    checks: dict[str, str],
    *,
    task_options: str,
    key: str,
    event_options: str,
) -> None:
    statements = (
        TASK.format(**types, sound=checks["sound"], options=task_options),
        *INDEXES,
        EVENT.format(**types, is_move=checks["is_move"], key=key, options=event_options),
        *EVENT_INDEXES,
        WORKER.format(**types),
    )
    for statement in statements:
        _execute(statement)


def _is_move() -> tuple[dict[str, str], str]:
    moves = " OR ".join(
        f"(from_status = '{source}' AND to_status IN ({_quoted(targets)}))"
        for source, targets in MOVES
    )
    # NULL makes a comparison unknown, and a CHECK lets the unknown pass: both cases are explicit.
    return (
        {"from_status": "TEXT", "to_status": "TEXT"},
        (
            "(from_status IS NULL AND to_status IN ('CREATED', 'SCHEDULED'))"
            f" OR (from_status IS NOT NULL AND to_status IN ({STATUSES})"
            f" AND (from_status = to_status OR {moves}))"
        ),
    )


def _is_listed_move() -> tuple[dict[str, str], str]:
    """The same, by one search in a text: a condition of that many terms takes longer to set up."""
    alike = [(name, name) for name in STATUSES.replace("'", "").split(",")]
    moves = [(source, target) for source, targets in MOVES for target in targets.split(",")]
    listed = "".join(f"[{source}>{target}]" for source, target in (*alike, *moves))
    longest = max(len(source) + len(target) for source, target in alike)
    return (
        _is_move()[0],
        (
            "CASE WHEN from_status IS NULL THEN to_status IN ('CREATED', 'SCHEDULED')"
            # What spans two of them is longer than any.
            f" ELSE length(from_status) + length(to_status) <= {longest}"
            f" AND strpos('{listed}', '[' || from_status || '>' || to_status || ']') > 0 END"
        ),
    )


def _function(name: str, arguments: dict[str, str], condition: str) -> str:
    """Make a function of a condition; answers the call that a CHECK makes."""
    listed = ", ".join(f"{argument} {kind}" for argument, kind in arguments.items())
    _execute(
        f"CREATE FUNCTION {name}({listed}) RETURNS BOOLEAN LANGUAGE plpgsql IMMUTABLE"
        f" PARALLEL SAFE AS $$ BEGIN RETURN {condition}; END $$"
    )
    return f"{name}({', '.join(arguments)})"


def _execute(statement: str) -> None:
    # The driver takes a lone percent sign only when there are no parameters.
    op.get_bind().exec_driver_sql(statement)


def _quoted(names: str) -> str:
    return ", ".join(f"'{name}'" for name in names.split(","))
