"""Rules that a tenant sets for itself, beside what the operator has set for it.

They are rows of `gate` with the target `own`, so that both may be there. Code that is older than
this never asks for such a row: it lives with them, and does not keep to them.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
oldest_code = "0015"

_BEFORE = "target IN ('queue','type','tenant')"
_NOW = "target IN ('queue','type','tenant','own')"
_SOUND = f"""
    {_NOW} AND origin IN ('person','code')
    AND (max_running IS NULL OR max_running > 0)
    AND (max_starts IS NULL) = (window_seconds IS NULL)
    AND (max_starts IS NULL OR (max_starts > 0 AND window_seconds > 0))
"""


def upgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        bind.exec_driver_sql(
            "ALTER TABLE gate DROP CONSTRAINT gate_is_sound,"
            f" ADD CONSTRAINT gate_is_sound CHECK ({_SOUND})"
        )
        return
    # SQLite changes no check of a table that is there.
    table, *triggers = bind.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE tbl_name = 'gate' AND sql IS NOT NULL"
        " ORDER BY type = 'trigger', name"
    ).scalars()
    for statement in (
        table.replace(_BEFORE, _NOW).replace("CREATE TABLE gate", "CREATE TABLE gate_copy", 1),
        "INSERT INTO gate_copy SELECT * FROM gate",
        "DROP TABLE gate",
        "ALTER TABLE gate_copy RENAME TO gate",
        *triggers,
    ):
        bind.exec_driver_sql(statement)
