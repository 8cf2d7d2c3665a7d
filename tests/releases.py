"""Two releases beside each other: trees of this project's packages, and what runs from them.

The new one is a copy of this tree with one more migration. `UPGRADE_FROM` in the environment names
the tree of an older release to begin with; where its schema is older, this tree is the new one.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("taskdb", "worker", "beat")
PREVIOUS = "UPGRADE_FROM"

# It does of everything a little that a migration may do beside code that does not know of it.
_MIGRATION = """
from alembic import op

revision = "0900"
down_revision = "{head}"
oldest_code = "{oldest_code}"

STATEMENTS = (
    "CREATE TABLE taskdb_of_next_release (id INTEGER PRIMARY KEY)",
    "ALTER TABLE taskdb_task ADD COLUMN of_next_release INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE taskdb_worker ADD COLUMN of_next_release TEXT",
    "ALTER TABLE taskdb_event ADD COLUMN of_next_release TEXT",
    "CREATE INDEX taskdb_task_of_next_release ON taskdb_task (created_at, id)",
    "CREATE INDEX taskdb_event_of_next_release ON taskdb_event (at) WHERE attempt > 0",
    "CREATE UNIQUE INDEX taskdb_slot_of_next_release ON taskdb_slot (n, key)",
    "UPDATE taskdb_task SET of_next_release = 1 WHERE of_next_release = 0",
    "DROP INDEX taskdb_task_of_next_release",
    # The one step for this table.
    "CREATE INDEX taskdb_alarm_of_next_release ON taskdb_alarm (type)",
)
POSTGRESQL = (
    "ALTER TABLE taskdb_task ADD CONSTRAINT of_next_release"
    " CHECK (of_next_release < 9) NOT VALID",
    "ALTER TABLE taskdb_event ADD CONSTRAINT of_next_release"
    " CHECK (of_next_release <> '') NOT VALID",
    "ALTER TABLE taskdb_limit DROP CONSTRAINT taskdb_limit_is_sound,"
    " ADD CONSTRAINT taskdb_limit_is_sound CHECK (origin <> '')",
    "CREATE FUNCTION taskdb_of_next_release() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RETURN NULL; END $$",
    "CREATE TRIGGER of_next_release AFTER DELETE ON taskdb_task FOR EACH ROW"
    " EXECUTE FUNCTION taskdb_of_next_release()",
)


def upgrade() -> None:
    bind = op.get_bind()
    for statement in STATEMENTS + (POSTGRESQL if bind.dialect.name == "postgresql" else ()):
        bind.exec_driver_sql(statement)
"""


@dataclass(frozen=True)
class Release:
    """A tree with the packages of a release."""

    tree: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment in which Python finds its packages before those that are installed."""
        return {"PYTHONPATH": os.pathsep.join(str(self.tree / name) for name in PACKAGES)}

    @property
    def head(self) -> str:
        (folder,) = self.tree.glob("taskdb/taskdb/store/**/migrations/versions")
        return max(file.name.partition("_")[0] for file in folder.glob("0*_*.py"))

    def next(self, folder: Path, oldest_code: str = "") -> Release:
        """Make the release after this one; it lives beside this unless `oldest_code` says so."""
        for name in PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(self.tree / name, folder / name, ignore=ignored)
        add_migration(folder / "taskdb/taskdb/store/engine/migrations", self.head, oldest_code)
        return Release(folder)


def add_migration(migrations: Path, head: str, oldest_code: str = "") -> None:
    """Write the migration of the next release into a copy of this release's."""
    text = _MIGRATION.format(head=head, oldest_code=oldest_code or head)
    (migrations / "versions/0900_next_release.py").write_text(text)


def old_and_new(folder: Path) -> tuple[Release, Release]:
    """Return two releases that follow each other, the second with a newer schema."""
    this = Release(REPOSITORY)
    old = Release(Path(os.environ.get(PREVIOUS, REPOSITORY)))
    return old, (this if old.head < this.head else this.next(folder))
