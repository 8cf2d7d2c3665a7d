"""Returns the space of deleted rows in a SQLite file to the disk, in small steps.

On PostgreSQL autovacuum does this.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection

from taskdb.store.engine.database import Database

PAGES_KEPT = 256
"""Free pages that stay in the file for new rows."""
_BITE = 128
"""Pages of one transaction; others wait for it about a millisecond."""
_PAUSE_SECONDS = 0.01
"""The pause after a step, in which others write."""
_INCREMENTAL = 2


class FreeSpace:
    """The free pages of a SQLite database; other databases have none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give_back(self, seconds: float) -> int:
        """Give pages back for about `seconds`. Returns their number, 0 if there are none."""
        if not self._database.dialect.is_file or self._database.is_joined or not self.can_shrink():
            return 0
        until = time.monotonic() + seconds
        given = 0
        while time.monotonic() < until:
            with self._database.transaction() as connection:
                bite = _take_bite(connection)
            given += bite
            if bite < _BITE:
                break
            time.sleep(_PAUSE_SECONDS)
        if given:
            # The file itself shrinks at a checkpoint of the log.
            self._database.read(lambda connection: _pragma(connection, "wal_checkpoint(PASSIVE)"))
        return given

    def can_shrink(self) -> bool:
        """Whether the file can shrink without being rewritten (`auto_vacuum = INCREMENTAL`)."""
        if not self._database.dialect.is_file:
            return True
        return self._database.read(lambda one: _pragma(one, "auto_vacuum")) == _INCREMENTAL


def _take_bite(connection: Connection) -> int:
    wanted = min(_pragma(connection, "freelist_count") - PAGES_KEPT, _BITE)
    cursor = connection.connection.cursor()
    try:
        for _ in range(wanted):
            # The driver runs one step of a statement without columns, which frees one page.
            cursor.execute("PRAGMA incremental_vacuum(1)")
    finally:
        cursor.close()
    return max(wanted, 0)


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
