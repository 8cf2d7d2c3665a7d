"""A plugin for the tests of an older release: the newer release in `UPGRADE_TO` migrates for them.

What the older code does with a database that is there already stays its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import create_engine

from taskdb.store.engine.migrations import migrate as migration
from taskdb.store.engine.migrations import revision

NEW = Path(os.environ["UPGRADE_TO"])
PATH = os.pathsep.join(str(NEW / name) for name in ("taskdb", "worker", "beat"))
CODE = (
    "import sys; from taskdb.store.engine.migrations.migrate import migrate;"
    " print(migrate(sys.argv[1]))"
)

_own = migration.migrate


def migrate(url: str) -> str:
    """Let the newer release make the tables of an empty database."""
    if _is_empty(url):
        environment = {**os.environ, "PYTHONPATH": PATH}
        command = [sys.executable, "-c", CODE, url]
        made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
    return _own(url)


def _is_empty(url: str) -> bool:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return revision.current(connection) is None
    finally:
        engine.dispose()


migration.migrate = migrate
