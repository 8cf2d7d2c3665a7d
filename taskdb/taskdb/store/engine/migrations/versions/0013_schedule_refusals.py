"""Declared schedules that were refused, and the deadline of what a schedule submits.

A row of `schedule_refusal` is written by the process that declares, and replaced when the same
origin declares again. `deadline_seconds` is NULL where tasks of the schedule do not expire.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
oldest_code = "0012"

LONGEST_SECONDS = 3_153_600_000
REFUSAL = """
CREATE TABLE schedule_refusal (
    origin TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    reason TEXT NOT NULL,
    at {moment} NOT NULL,
    PRIMARY KEY (origin, name)
)
"""


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    moment, number = ("TIMESTAMPTZ", "DOUBLE PRECISION") if is_postgresql else ("TEXT", "FLOAT")
    op.get_bind().exec_driver_sql(REFUSAL.format(moment=moment))
    op.get_bind().exec_driver_sql(
        f"ALTER TABLE schedule ADD COLUMN deadline_seconds {number} CHECK"
        f" (deadline_seconds IS NULL OR deadline_seconds BETWEEN 0 AND {LONGEST_SECONDS})"
    )
