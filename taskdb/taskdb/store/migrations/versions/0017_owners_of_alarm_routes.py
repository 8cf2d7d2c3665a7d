"""The tenant that owns an alarm route; NULL is the operator.

Routes that are rows already are the operator's: nothing in them says whether a tenant's client made
them. Code that is older than this neither writes nor reads the column, and lives with it: until it
is gone, routes count for it as they did before, and those that it makes are the operator's.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
down_revision = "0016"
oldest_code = "0016"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE alarm_route ADD COLUMN owner TEXT")
