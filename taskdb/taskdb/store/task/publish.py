"""Publications: lease rows for publishing, and record the result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from taskdb.model.json_text import storable
from taskdb.store.contract import Publication
from taskdb.store.engine.aside import Aside, is_of_a_row
from taskdb.store.engine.database import Database
from taskdb.store.engine.session import JoinedSession, Row
from taskdb.store.task import row as rows
from taskdb.store.task.table import TaskTable
from taskdb.store.task.task_id import LEAST_ID

RELAY = "relay"
"""The name under which rows that fail are set aside; a relay skips them until their next try."""
_REASON = 500
"""The number of characters of a reason that are kept."""


class Publications:
    """The verbs of the publisher and the relay, which send the messages of rows to the broker."""

    def __init__(self, database: Database, aside: Aside, table: TaskTable) -> None:
        self._database = database
        self._aside = aside
        self._table = table

    def mark_queued(self, published: Sequence[Publication]) -> set[str]:
        """Move rows whose messages the broker took to QUEUED. Returns the ids that moved."""
        moved = self._aside.move(RELAY, self._table.moves.queue, self._marks(published))
        return {one.id for one in moved if one.after is not None}

    def lease_due(self, limit: int, lease: timedelta) -> list[Publication]:
        """Lease the rows that have been due longest. Returns them, oldest tasks first.

        The lease is committed before the relay connects to the broker. Rows that another relay has
        locked are skipped.
        """
        parameters = {"lease": lease.total_seconds(), "limit": limit}
        try:
            found = self._database.query(self._table.queries.lease_due, parameters)
        except Exception as error:
            if not is_of_a_row(error):
                raise
            found = self._lease_apart(parameters)
        found.sort(key=lambda row: (row["created_at"], str(row["id"])))
        return self._aside.each(RELAY, found, rows.PUBLICATION.read, key=lambda row: str(row["id"]))

    def _lease_apart(self, parameters: dict[str, Any]) -> list[Row]:
        """Lease the due rows in smaller and smaller parts, since one of them fails."""
        queries = self._table.queries
        due = self._database.query(queries.due, parameters, writes=False)

        def lease(ids: Sequence[str]) -> list[Row]:
            these = {**parameters, "ids": json.dumps(list(ids))}
            return self._database.query(queries.lease_these, these)

        return self._aside.batch(RELAY, [str(row["id"]) for row in due], lease)

    def end_lease(self, leased: Sequence[Publication]) -> None:
        """Make leased rows that were not published due at once."""
        self._database.query(self._table.queries.release, self._marks(leased))

    def refuse(self, refused: Sequence[tuple[Publication, str]]) -> None:
        """Write why the broker refused these messages, and when each is tried again.

        The pause is as long as the row has waited since its last move, between 5 s and 5 minutes.
        A row that has moved in the meantime stays as it is.
        """
        spell = self._database.dialect.spell
        marks = [
            {"id": item.id, "relay_at": spell(item.relay_at), "reason": storable(reason, _REASON)}
            for item, reason in refused
        ]
        bound = self._database.parameters({"marks": json.dumps(marks)})
        with self._database.transaction() as connection:
            session = JoinedSession(connection)
            for statement in (self._table.queries.note_refusal, self._table.queries.refuse):
                self._database.dialect.query(session, statement, bound)

    def find(self, ids: Sequence[str]) -> list[Publication]:
        """Return the publications of these rows, as the rows are now. Held rows have none."""
        if not ids:
            return []
        parameters = {"ids": json.dumps(list(ids))}
        found = self._database.query(self._table.queries.publications, parameters, writes=False)
        return [rows.PUBLICATION.read(row) for row in found]

    def page_of_parts(self, parent_id: str, after: str, limit: int) -> list[Publication]:
        """Return parts of a parent that wait to be published, behind the id `after`, in order."""
        place = {"parent": parent_id, "after": after or LEAST_ID, "limit": limit}
        found = self._database.query(self._table.queries.family, place, writes=False)
        return [rows.PUBLICATION.read(row) for row in found]

    def _marks(self, items: Sequence[Publication]) -> dict[str, str]:
        spell = self._database.dialect.spell
        marks = [{"id": item.id, "relay_at": spell(item.relay_at)} for item in items]
        return {"marks": json.dumps(marks)}
