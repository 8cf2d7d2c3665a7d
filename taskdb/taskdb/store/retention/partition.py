"""The partitions of the history: created before they are needed, each in its transaction."""

from __future__ import annotations

import time
from datetime import datetime

from taskdb.errors import DatabaseError
from taskdb.logger import get_logger
from taskdb.store.engine import faults
from taskdb.store.engine.database import Database
from taskdb.store.engine.postgresql.partitions import create_partition, missing_days

log = get_logger("taskdb.upkeep")

_MOST = 10_000
"""Rows of the default partition that are counted."""
TRIES = 5
PAUSE_SECONDS = 0.5
"""Between two tries, each of which waits for a fifth of a second at most."""


class Partitions:
    """Creates the partitions of PostgreSQL's history; SQLite has none."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_postponed = False
        """The last call met a lock that another transaction holds, and left days to the next."""

    def create(self) -> list[str]:
        """Create what is missing of the coming days; returns the names of the new partitions."""
        self.is_postponed = False
        if self._database.dialect.name != "postgresql":
            return []
        created = []
        for day in self._database.read(missing_days):
            name = self._create(day)
            if self.is_postponed:
                # Another wait would stop those who read the history once more.
                break
            if name is not None:
                created.append(name)
        return created

    def in_default(self) -> dict[str, int]:
        """How many rows of each day lie in the default partition; of 10,000 of them."""
        if self._database.dialect.name != "postgresql":
            return {}
        found = self._database.query(
            "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, count(*) AS number"
            f" FROM (SELECT at FROM taskdb_event_default LIMIT {_MOST}) AS few GROUP BY 1"
            " ORDER BY 1",
            {},
            writes=False,
        )
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
                # Those who waited behind this one go on meanwhile.
                time.sleep(PAUSE_SECONDS)
        self.is_postponed = True
        log.info("partition.postponed", day=f"{day:%Y-%m-%d}")
        return None
