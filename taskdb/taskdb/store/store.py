"""The store: the verbs of a task's life, each one round trip, on one database.

It knows rows and moves, not types, messages or processes. A verb that guards a race answers
whether it moved the row; the loser changes nothing. The verbs lie in one module a role:
`publishing`, `running`, `joining` (what follows the end of a sub-task), `families` (a task that
splits itself), `submitting`, `resubmission` (a tree that has the unique key of a submit),
`releasing` (who goes before a gate), `gating`, `callbacks`, `intervention`, `bulk`, `reading`,
`standing`, `schedules`, `scheduling`, `adopting` (tasks that are only watched), `subscriptions` and
`notifying`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from taskdb.clock import Clock, DatabaseClock
from taskdb.store.adopting import Adopting
from taskdb.store.aside import Aside
from taskdb.store.bulk import Bulk
from taskdb.store.callbacks import Callbacks
from taskdb.store.database import Database
from taskdb.store.drift import Drifts
from taskdb.store.gating import Gating
from taskdb.store.joining import leave_to_relay
from taskdb.store.notifying import Notifying
from taskdb.store.partitioning import Partitioning
from taskdb.store.payload import NO_PAYLOADS, Payloads
from taskdb.store.releasing import Releasing
from taskdb.store.scheduling import Scheduling
from taskdb.store.standing import Standings
from taskdb.store.submitting import Submitting


class Store(
    Submitting,
    Bulk,
    Callbacks,
    Standings,
    Drifts,
    Scheduling,
    Releasing,
    Gating,
    Adopting,
    Notifying,
):
    """Tasks on one database."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        pool_size: int = 5,
        migrates_itself: bool = False,
        relay_grace: timedelta = timedelta(seconds=5),
        payloads: Payloads = NO_PAYLOADS,
    ) -> None:
        self.database = Database(
            url,
            clock or DatabaseClock(),
            pool_size=pool_size,
            migrates_itself=migrates_itself,
        )
        self.aside = Aside(self.database)
        self.grace = relay_grace
        self.payloads = payloads
        self.on_new = leave_to_relay

    def create_partitions(self) -> list[str]:
        """Make the history's partitions of the coming days; nothing to do on SQLite.

        What another transaction's lock prevents is left to the next call.
        """
        return Partitioning(self.database).create()

    def close(self) -> None:
        """Close this process's connections; the next use opens new ones."""
        self.database.close()

    @contextmanager
    def closing(self) -> Iterator[Store]:
        """Close on leaving."""
        try:
            yield self
        finally:
            self.close()
