"""Who reports: of several processes that watch this database, the one that counts its events.

`xid` and `event_id` are the place in the history up to which events have been counted; NULL: from
its end.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
oldest_code = "0006"

REPORTER = """
CREATE TABLE reporter (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until {moment} NOT NULL,
    xid BIGINT,
    event_id BIGINT
)
"""


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    moment = "TIMESTAMPTZ" if is_postgresql else "TEXT"
    op.get_bind().exec_driver_sql(REPORTER.format(moment=moment))
