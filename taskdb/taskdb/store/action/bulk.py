"""Actions of a person on many tasks at once: all tasks that a filter finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from taskdb.errors import IllegalMove, InvalidInput, SequenceAlreadyCompleted
from taskdb.model.principal.permission import ANYTHING, Permission
from taskdb.model.status import MOVES, TaskStatus
from taskdb.store.contract import Publication, Scope
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.engine.task_table import task
from taskdb.store.task.filter import Filter
from taskdb.store.task.list import Cursor, has_status, page_statement
from taskdb.store.task.permission import is_allowed
from taskdb.store.task.table import TaskTable
from taskdb.store.tree.intervention import Interventions, listed

BULK = 1_000
"""Rows that a bulk action moves in one statement."""


class BulkActions:
    """The actions of a person on many tasks; each is limited to the tenants of a scope."""

    def __init__(
        self, database: Database, aside: Aside, table: TaskTable, interventions: Interventions
    ) -> None:
        self._database = database
        self._aside = aside
        self._table = table
        self._interventions = interventions

    def cancel(self, chosen: Filter, scope: Scope, by: str | None = None) -> int:
        """Cancel the tasks of a filter that may be canceled. Returns their number."""

        def cancel(ids: Sequence[str]) -> list[int]:
            return [self._interventions.cancel_some(ids, by)]

        return sum(
            number
            for ids in self._ids(chosen, "cancel", scope)
            for number in self._aside.batch("cancel", ids, cancel)
        )

    def retry(
        self,
        chosen: Filter,
        scope: Scope,
        by: str | None = None,
        *,
        force: bool = False,
        may_run: Permission = ANYTHING,
    ) -> Iterator[tuple[int, list[Publication]]]:
        """Retry the tasks of a filter that may be retried. Yields counts and publications.

        With `force` trees run as a whole. A task that has left the statuses of the filter stays.
        """
        only = frozenset(chosen.status) or MOVES["retry"].sources

        def retry_one(task_id: str) -> tuple[int, list[Publication]]:
            """Retry one of many; an earlier retry may have changed its tree."""
            try:
                published = self._interventions.retry(
                    task_id, scope, by, force=force, only=only, may_run=may_run
                )
            except (IllegalMove, SequenceAlreadyCompleted, InvalidInput):
                return 0, []
            return 1, published

        def retry_alone(ids: Sequence[str]) -> list[tuple[int, list[Publication]]]:
            return [self._interventions.retry_alone(ids, only, by)]

        for ids in self._ids(chosen, "retry", scope, may_run):
            in_trees = self._in_trees(ids)
            alone = [one for one in ids if one not in in_trees]
            yield from self._aside.batch("retry", alone, retry_alone)
            rest = [one for one in ids if one in in_trees]
            yield from self._aside.each("retry", rest, retry_one)

    def _in_trees(self, ids: Sequence[str]) -> set[str]:
        found = self._database.query(self._table.queries.trees, {"ids": listed(ids)}, writes=False)
        return {str(row["id"]) for row in found}

    def _ids(
        self, chosen: Filter, verb: str, scope: Scope, may_run: Permission = ANYTHING
    ) -> Iterator[list[str]]:
        """Yield ids in batches, oldest first; a moved task does not appear again."""
        after: Cursor | None = None
        sources = tuple(status for status in TaskStatus if status in MOVES[verb].sources)
        while True:
            found = self._batch(chosen, scope, sources, after, may_run)
            if not found:
                return
            after = Cursor(found[-1].created_at, found[-1].id)
            yield [row.id for row in found]

    def _batch(
        self,
        chosen: Filter,
        scope: Scope,
        sources: Sequence[TaskStatus],
        after: Cursor | None,
        may_run: Permission,
    ) -> Sequence[Any]:
        d = self._database.dialect
        statement = page_statement(chosen, scope, d, BULK, "oldest", after)
        statement = statement.where(*is_allowed(may_run))
        narrow = statement.where(has_status(sources), ~task.c.is_adopted).with_only_columns(
            task.c.id, task.c.created_at
        )
        return self._database.read(lambda connection: connection.execute(narrow).all())
