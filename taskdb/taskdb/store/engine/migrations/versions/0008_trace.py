"""The trace that a task goes on with, in the form of W3C; NULL where its submit had none."""

from alembic import op

revision = "0008"
down_revision = "0007"
oldest_code = "0007"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE task ADD COLUMN trace TEXT")
