"""The store: the verbs of a task's life, each one round trip, on one database.

It knows rows and moves, not types, messages or processes. A verb that guards a race answers
whether it moved the row; the loser changes nothing. The verbs lie in one module a role:
`publishing`, `running`, `joining` (what follows the end of a sub-task), `families` (how trees of
tasks begin), `releasing` (who goes before a gate), `gating`, `callbacks`, `intervention`,
`reading`, `standing`, `schedules`, `scheduling`, `adopting` (tasks that are only watched),
`subscriptions` and `notifying`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import Connection

from taskdb.clock import Clock, DatabaseClock
from taskdb.store.adopting import Adopting
from taskdb.store.callbacks import Callbacks
from taskdb.store.contract import Draft, OnConflict
from taskdb.store.creation import Created, Creation
from taskdb.store.database import Database
from taskdb.store.drift import Drifts
from taskdb.store.gating import Gating
from taskdb.store.intervention import Intervention
from taskdb.store.joining import leave_to_relay
from taskdb.store.notifying import Notifying
from taskdb.store.partitioning import Partitioning
from taskdb.store.payload import NO_PAYLOADS, Payloads
from taskdb.store.releasing import Releasing
from taskdb.store.scheduling import Scheduling
from taskdb.store.session import JoinedSession, Session
from taskdb.store.standing import Standings


class Store(
    Intervention, Callbacks, Standings, Drifts, Scheduling, Releasing, Gating, Adopting, Notifying
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
        self.grace = relay_grace
        self.payloads = payloads
        self.on_new = leave_to_relay

    def create(
        self,
        drafts: Sequence[Draft],
        *,
        on_conflict: OnConflict = "resubmit",
        connection: Connection | None = None,
    ) -> list[Created]:
        """Insert tasks, all or none; one answer a draft, in order.

        With a connection they belong to its transaction, else they are committed on return.
        """
        if connection is not None:
            creation = self._creation(JoinedSession(connection), connection.dialect.name)
            return creation.create(drafts, on_conflict)
        return self.database.again(lambda: self._create_alone(drafts, on_conflict))

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

    def _create_alone(self, drafts: Sequence[Draft], on_conflict: OnConflict) -> list[Created]:
        name = self.database.dialect.name
        # One statement needs no transaction around it, and so fewer round trips.
        if len(drafts) == 1 and drafts[0].unique_key is None:
            with self.database.session() as session:
                return self._creation(session, name).create(drafts, on_conflict)
        with self.database.transaction() as connection:
            creation = self._creation(JoinedSession(connection), name)
            return creation.create(drafts, on_conflict)

    def _creation(self, session: Session, dialect: str) -> Creation:
        spoken = self.database.spoken(dialect)
        return Creation(session, spoken, self.database.parameters({}), self.grace)
