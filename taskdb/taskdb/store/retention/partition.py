"""The partitions of the history: created ahead of time, each in its own transaction."""

from __future__ import annotations

import time
from datetime import datetime

from taskdb.errors import DatabaseError
from taskdb.logger import get_logger
from taskdb.store.engine import faults
from taskdb.store.engine.database import Database
from taskdb.store.engine.postgresql.partitions import create_partition, missing_days
from taskdb.store.task.statements import queries_of

log = get_logger("taskdb.upkeep")

TRIES = 5
PAUSE_SECONDS = 0.5
"""The pause between two tries, each of which waits at most a fifth of a second for a lock."""


class Partitions:
    """Creates the partitions of PostgreSQL's history; SQLite has none."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_postponed = False
        """Whether another transaction's lock made the last call leave days to the next one."""

    def create(self) -> list[str]:
        """Create missing partitions of the coming days. Returns the names of the new ones."""
        self.is_postponed = False
        if not self._database.dialect.has_partitions:
            return []
        created = []
        for day in self._database.read(missing_days):
            name = self._create(day)
            if self.is_postponed:
                # Another wait would stop the readers of the history once more.
                break
            if name is not None:
                created.append(name)
        return created

    def in_default(self) -> dict[str, int]:
        """Count the rows in the default partition by day, 10,000 rows at most."""
        dialect = self._database.dialect
        if not dialect.has_partitions:
            return {}
        sql = queries_of(dialect, "retention/queries").in_default
        found = self._database.query(sql, {}, writes=False)
        return {str(row["day"]): int(row["number"]) for row in found}

    def _create(self, day: datetime) -> str | None:
        for is_last in (False,) * (TRIES - 1) + (True,):
            try:
                with self._database.transaction() as connection:
                    return create_partition(connection, day)
            except DatabaseError as error:
                if not faults.is_lock_conflict(error.__cause__):
                    raise
            if not is_last:
                # Transactions that waited behind this one continue meanwhile.
                time.sleep(PAUSE_SECONDS)
        self.is_postponed = True
        log.info("partition.postponed", day=f"{day:%Y-%m-%d}")
        return None
