"""The live beats: each renews its own row, whether or not it serves HTTP."""

from __future__ import annotations

from datetime import timedelta

from taskdb.store.engine.database import Database
from taskdb.store.task.statements import Queries, queries_of

_PREFIX = "beat/"
_KEPT = timedelta(days=1)
"""The row of a killed beat is deleted after this time."""


class Beats:
    """Rows of live beats in `reporter`, beside the row of the reporting process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def renew(self, name: str, lease: timedelta) -> None:
        """Record that this beat lives, for the length of the lease."""
        given = {"key": f"{_PREFIX}{name}", "name": name, "lease": lease.total_seconds()}
        self._database.query(self._queries.renew_beat, given)

    def leave(self, name: str) -> None:
        """Record that this beat has stopped normally."""
        self._database.query(self._queries.leave_beat, {"key": f"{_PREFIX}{name}"})

    def forget_dead(self) -> None:
        """Delete the rows of beats that were killed long ago."""
        self._database.query(self._queries.forget_dead_beats, {"kept": _KEPT.total_seconds()})

    def live(self) -> list[str]:
        """Return the names of the beats whose lease is not over."""
        found = self._database.query(self._queries.live_beats, {}, writes=False)
        return [str(row["holder"]) for row in found]

    @property
    def _queries(self) -> Queries:
        return queries_of(self._database.dialect, "doctor/queries")
