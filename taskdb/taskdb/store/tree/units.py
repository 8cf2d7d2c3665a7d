"""Open units: several statements in one transaction, of the store or of the caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import Connection

from taskdb.store.engine.database import Database
from taskdb.store.engine.session import Session
from taskdb.store.task.create import Creation
from taskdb.store.tree.unit import Unit


class Units:
    """The units of one database."""

    def __init__(self, database: Database, grace: timedelta) -> None:
        self._database = database
        self.grace = grace
        """The time in which the relay skips a row that its own process will publish."""

    @contextmanager
    def open(
        self,
        connection: Connection | None = None,
        *,
        may_idle: bool = False,
        is_careful: bool = False,
    ) -> Iterator[Unit]:
        """Open a unit in a new transaction, or in that of the caller's connection.

        `may_idle`: the caller reads items in it, so it may idle. `is_careful`: see `Unit`.
        """
        if connection is not None:
            with self._database.in_transaction_of_caller():
                yield self.over(connection)
            return
        with self._database.transaction(may_idle=may_idle) as own:
            yield Unit(self._database, own, self.grace, is_careful=is_careful)

    def over(self, connection: Connection) -> Unit:
        """Return a unit over a transaction that is open already."""
        return Unit(self._database, connection, self.grace)

    def creation(self, session: Session) -> Creation:
        """Return the insertion of drafts over a session without a transaction around it."""
        database = self._database
        return Creation(session, database.dialect, database.parameters({}), self.grace)
