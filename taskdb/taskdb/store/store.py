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

from taskdb.model.clock import Clock, DatabaseClock
from taskdb.store.action.bulk import Bulk
from taskdb.store.admission.limit import Gating
from taskdb.store.admission.release import Releasing
from taskdb.store.adopted.adopted import Adopting
from taskdb.store.doctor.drift import Drifts
from taskdb.store.doctor.situation import Standings
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.outgoing.subscription.turn import Notifying
from taskdb.store.payload.payload import NO_PAYLOADS, Payloads
from taskdb.store.retention.daily_partitions import Partitioning
from taskdb.store.schedule.fire import Scheduling
from taskdb.store.tree.callback import Callbacks
from taskdb.store.tree.join import leave_to_relay
from taskdb.store.tree.submit import Submitting


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
