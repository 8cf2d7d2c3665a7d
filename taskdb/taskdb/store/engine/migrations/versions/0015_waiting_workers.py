"""Why a worker waits, beside the moment at which it was last seen.

Code that is older than this neither writes nor reads the column, and lives with it.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
oldest_code = "0014"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE worker ADD COLUMN waiting TEXT")
