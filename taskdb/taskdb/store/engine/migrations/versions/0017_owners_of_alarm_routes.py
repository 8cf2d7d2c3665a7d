"""The tenant that owns an alarm route, and the tenant that acted on an alarm; NULL is the operator.

Routes that are rows already are the operator's: nothing in them says whether a tenant's client made
them. Code that is older than this neither writes nor reads the columns, and lives with them: until
it is gone, routes count for it as they did before, and those that it makes are the operator's.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
oldest_code = "0016"


def upgrade() -> None:
    for column in ("alarm_route ADD COLUMN owner TEXT", "alarm ADD COLUMN acted_for TEXT"):
        op.get_bind().exec_driver_sql(f"ALTER TABLE {column}")
