"""A reader of the history that keeps a cursor of its own, as a system outside does."""

from __future__ import annotations

from contextlib import suppress

from tests.chaos.ground import Ground
from tests.waiting import wait_until

from taskdb.store.store import Store

_PAGE = 200


class Reader:
    """Reads each event once, before a fault and after it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._cursor: str | None = None
        self._read: list[int] = []

    def read(self) -> None:
        """Read what is new."""
        with Store(self._ground.env["TASKDB_DATABASE_URL"]).closing() as store:
            while True:
                page = store.events_after(self._cursor, _PAGE)
                self._read += [event.id for event in page.events]
                self._cursor = page.cursor
                if not page.events:
                    return

    def complaint(self) -> str:
        """What it was not told of, or twice; empty where all is well."""
        with suppress(AssertionError):
            # A transaction that is open holds the last ones back for its time.
            wait_until(self._has_all, 10)
        there = {row["id"] for row in self._ground.query("SELECT id FROM task_event")}
        missed, twice = len(there - set(self._read)), len(self._read) - len(set(self._read))
        return f"a reader missed {missed} events, and had {twice} twice" if missed or twice else ""

    def _has_all(self) -> bool:
        self.read()
        return len(self._read) >= self._ground.query("SELECT count(*) AS n FROM task_event")[0]["n"]
