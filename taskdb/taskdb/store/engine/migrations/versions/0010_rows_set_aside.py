"""Rows that a loop could not work on, and leaves out until their next try.

Code that is older than this does not know the table, and lives with it.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
oldest_code = "0009"

TABLE = """
CREATE TABLE set_aside (
    loop TEXT NOT NULL,
    key TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 1,
    first_at {moment} NOT NULL DEFAULT {now},
    last_at {moment} NOT NULL DEFAULT {now},
    next_try_at {moment} NOT NULL DEFAULT {now},
    PRIMARY KEY (loop, key)
)
"""

POSTGRESQL = {"moment": "TIMESTAMPTZ", "now": "clock_timestamp()"}
SQLITE = {"moment": "TEXT", "now": "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"}


def upgrade() -> None:
    bind = op.get_bind()
    types = POSTGRESQL if bind.dialect.name == "postgresql" else SQLITE
    bind.exec_driver_sql(TABLE.format(**types))
