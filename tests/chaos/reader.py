"""A reader of the history that keeps a cursor of its own, as a system outside does."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from tests.chaos.ground import Ground
from tests.waiting import wait_until

from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store

_PAGE = 200
_EVENTS = "SELECT id, at FROM taskdb_event"


class Reader:
    """Reads each event once, before a fault and after it.

    An event is known by its number and its moment. The commit of a claim does not wait for the
    disk, so a killed server may forget an event that was read, and give its number to another one.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._cursor: str | None = None
        self._read: list[tuple[int, datetime]] = []

    def read(self) -> None:
        """Read what is new."""
        with Store(self._ground.env["TASKDB_DATABASE_URL"]).closing() as store:
            while True:
                page = store.tasks.events_after(self._cursor, _PAGE, EVERYONE)
                self._read += [(event.id, event.at) for event in page.events]
                self._cursor = page.cursor
                if not page.events:
                    return

    def complaint(self) -> str:
        """What it was not told of, or twice; empty where all is well."""
        with suppress(AssertionError):
            # A transaction that is open holds the last ones back for its time.
            wait_until(self._has_all, 10)
        missed, twice = len(self._missed()), len(self._read) - len(set(self._read))
        return f"a reader missed {missed} events, and had {twice} twice" if missed or twice else ""

    def _has_all(self) -> bool:
        self.read()
        return not self._missed()

    def _missed(self) -> set[tuple[int, datetime]]:
        there = {(row["id"], row["at"]) for row in self._ground.query(_EVENTS)}
        return there - set(self._read)
