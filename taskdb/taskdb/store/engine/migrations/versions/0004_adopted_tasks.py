"""Adopted tasks: those of a Celery app that is only watched.

No statement that moves or publishes a task touches one of them. They have an index of their own for
who looks after them; in that of the relay they stand behind all that will ever be due.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
oldest_code = "0003"

STATEMENTS = (
    "ALTER TABLE task ADD COLUMN is_adopted BOOLEAN NOT NULL DEFAULT false",
    # What may have been lost from sight.
    (
        "CREATE INDEX task_adopted ON task (status, updated_at) WHERE is_adopted"
        " AND status IN ('CREATED','SCHEDULED','QUEUED','STARTED','ERRORED')"
    ),
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
