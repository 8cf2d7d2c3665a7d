"""What a person does to tasks: cancel them, and run them again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from taskdb.errors import IllegalMove
from taskdb.status import MOVES, TaskStatus, check_move, in_order
from taskdb.store.contract import EVERYONE, Filter, Publication, Scope
from taskdb.store.listing import Cursor, has_status, page_statement
from taskdb.store.part import is_id, spelled_reason
from taskdb.store.publishing import Publishing
from taskdb.store.reading import Reading
from taskdb.store.tables import task

BULK = 1_000
"""Rows that a bulk verb moves in one statement."""


class Intervention(Publishing, Reading):
    """The verbs of a person; each keeps to the tenants of a scope."""

    def cancel(self, task_id: str, scope: Scope = EVERYONE) -> None:
        """Stop it: CANCELED at once while it waits; a running body is asked.

        Canceling what is canceled changes nothing. Raises TaskNotFound, and IllegalMove for a
        task that ended otherwise.
        """
        status = self.get(task_id, scope).status
        if status is TaskStatus.CANCELED or self._cancel([task_id]):
            return
        if self.get(task_id, scope).status is not TaskStatus.CANCELED:
            self._refuse("cancel", task_id, scope)

    def retry(self, task_id: str, scope: Scope = EVERYONE) -> list[Publication]:
        """Run it again with a whole budget; answers what to publish.

        Raises TaskNotFound, and IllegalMove for a task that has not ended and is not waiting.
        """
        self.get(task_id, scope)
        moved = self._retry([task_id])
        if not moved:
            self._refuse("retry", task_id, scope)
        return moved

    def cancel_all(self, chosen: Filter, scope: Scope = EVERYONE) -> int:
        """Cancel what a filter finds and may be canceled; answers how many."""
        return sum(self._cancel(ids) for ids in self._ids(chosen, "cancel", scope))

    def retry_all(self, chosen: Filter, scope: Scope = EVERYONE) -> Iterator[list[Publication]]:
        """Retry what a filter finds and may be retried; answers batches to publish."""
        for ids in self._ids(chosen, "retry", scope):
            yield self._retry(ids)

    def _cancel(self, ids: list[str]) -> int:
        parameters = _by_hand(ids, "canceled by hand")
        moved = self.database.move(self.database.moves.cancel, parameters)
        return sum(one.after is not None for one in moved)

    def _retry(self, ids: list[str]) -> list[Publication]:
        parameters = {**_by_hand(ids, "retried by hand"), "delay": self.grace.total_seconds()}
        moved = self.database.move(self.database.moves.retry, parameters)
        return self.publications([one.id for one in moved if one.after is not None])

    def _refuse(self, verb: str, task_id: str, scope: Scope) -> None:
        status = self.get(task_id, scope).status
        check_move(verb, status, task_id)
        # The row moved between the two statements; what it was then did not allow the verb.
        raise IllegalMove(verb, status, in_order(MOVES[verb].sources), task_id)

    def _ids(self, chosen: Filter, verb: str, scope: Scope) -> Iterator[list[str]]:
        """Ids in batches, oldest first; what was moved on the way is not met again."""
        after: Cursor | None = None
        sources = tuple(status for status in TaskStatus if status in MOVES[verb].sources)
        while True:
            found = self._batch(chosen, scope, sources, after)
            if not found:
                return
            after = Cursor(found[-1].created_at, found[-1].id)
            yield [row.id for row in found]

    def _batch(
        self, chosen: Filter, scope: Scope, sources: Sequence[TaskStatus], after: Cursor | None
    ) -> Sequence[Any]:
        name = self.database.dialect.name
        statement = page_statement(chosen, scope, name, BULK, "oldest", after)
        narrow = statement.where(has_status(sources)).with_only_columns(
            task.c.id, task.c.created_at
        )
        return self.database.read(lambda connection: connection.execute(narrow).all())


def _by_hand(ids: Sequence[str], reason: str) -> dict[str, Any]:
    known = [task_id for task_id in ids if is_id(task_id)]
    return {"ids": json.dumps(known), "detail": spelled_reason(reason)}
