"""The live beats: each renews its own row, whether or not it serves HTTP."""

from __future__ import annotations

from datetime import timedelta

from taskdb.store.engine.database import Database

_PREFIX = "beat/"
_IS_BEAT = f"substr(name, 1, {len(_PREFIX)}) = '{_PREFIX}'"
_KEPT = timedelta(days=1)
"""The row of a killed beat is deleted after this time."""


class Beats:
    """Rows of live beats in `reporter`, beside the row of the reporting process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def renew(self, name: str, lease: timedelta) -> None:
        """Record that this beat lives, for the length of the lease."""
        d = self._database.dialect
        self._database.query(
            "INSERT INTO taskdb_reporter (name, holder, until)"
            f" VALUES ({d.text('key')}, {d.text('name')}, {d.later(':lease')}) ON CONFLICT (name)"
            f" DO UPDATE SET until = excluded.until RETURNING name{d.lazily}",
            {"key": f"{_PREFIX}{name}", "name": name, "lease": lease.total_seconds()},
        )

    def leave(self, name: str) -> None:
        """Record that this beat has stopped normally."""
        self._database.query(
            "DELETE FROM taskdb_reporter WHERE name = :key", {"key": f"{_PREFIX}{name}"}
        )

    def forget_dead(self) -> None:
        """Delete the rows of beats that were killed long ago."""
        d = self._database.dialect
        self._database.query(
            f"DELETE FROM taskdb_reporter WHERE {_IS_BEAT} AND until <"
            f" (SELECT {d.later('-:kept')})",
            {"kept": _KEPT.total_seconds()},
        )

    def live(self) -> list[str]:
        """Return the names of the beats whose lease is not over."""
        found = self._database.query(
            f"SELECT holder FROM taskdb_reporter WHERE {_IS_BEAT}"
            f" AND until >= (SELECT {self._database.dialect.now}) ORDER BY holder",
            {},
            writes=False,
        )
        return [str(row["holder"]) for row in found]
