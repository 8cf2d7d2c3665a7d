"""Reads of tasks and their history."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from taskdb.errors import TaskNotFound
from taskdb.model.entity import TaskEntity, TaskEvent, TaskReader, TaskRole
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Scope
from taskdb.store.engine.database import Database
from taskdb.store.engine.restore import settle
from taskdb.store.engine.task_table import task, task_event, task_over
from taskdb.store.payload.payload import Payloads
from taskdb.store.payload.row_reader import RowReader
from taskdb.store.task import row as rows
from taskdb.store.task.filter import Filter
from taskdb.store.task.list import (
    Cursor,
    EventCursor,
    EventPage,
    Order,
    conditions,
    events_statement,
    page_statement,
)
from taskdb.store.task.task_id import is_id

_SETTLE_SECONDS = 1.0
_REFUSED = "the broker did not take the message"
"""The text that a tenant reads instead of the broker's, which may name the operator's systems."""


class Tasks:
    """The verbs that read tasks and their history. Each verb reads only tenants of its scope."""

    def __init__(self, database: Database, payloads: Payloads) -> None:
        self._database = database
        self._payloads = payloads

    def get(
        self,
        task_id: str,
        scope: Scope,
        reader: TaskReader | None = None,
        *,
        connection: Connection | None = None,
    ) -> TaskEntity:
        """Return the task of this id. Raises TaskNotFound, also for a task out of the scope.

        With a connection the task is read in its transaction.
        """
        if not is_id(task_id):
            raise TaskNotFound(task_id)
        place = task.c.id == task_id
        found = self._select(Filter(with_sub_tasks=True), scope, place, connection)
        if found is None:
            raise TaskNotFound(task_id)
        return self._entity(found, reader)

    def get_sub_task(
        self, parent_id: str, position: int, scope: Scope, reader: TaskReader | None = None
    ) -> TaskEntity:
        """Return the sub-task of this parent at this position. Raises TaskNotFound."""
        place = task.c.position == position
        found = self._select(Filter(parent_id=parent_id), scope, place)
        if found is None:
            raise TaskNotFound(f"{parent_id}#{position}")
        return self._entity(found, reader)

    def page(
        self,
        chosen: Filter,
        scope: Scope,
        *,
        limit: int,
        order: Order = "newest",
        after: Cursor | None = None,
        reader: TaskReader | None = None,
    ) -> list[TaskEntity]:
        """Return one page of tasks, by time of creation."""
        d = self._database.dialect
        statement = page_statement(chosen, scope, d, limit, order, after)

        def read(connection: Connection) -> list[TaskEntity]:
            return [self._entity(row, reader) for row in connection.execute(statement).mappings()]

        return self._database.read(read)

    def sub_tasks(
        self,
        parent_id: str,
        scope: Scope,
        *,
        after: int,
        limit: int,
        role: TaskRole | None = None,
        status: tuple[TaskStatus, ...] = (),
        reader: TaskReader | None = None,
    ) -> list[TaskEntity]:
        """Return sub-tasks behind a position, in order of their positions."""
        chosen = Filter(parent_id=parent_id, role=role, status=status)
        limits = conditions(chosen, scope, self._database.dialect)
        statement = (
            select(task)
            .where(*limits, task.c.position > after)
            .order_by(task.c.position)
            .limit(limit)
        )

        def read(connection: Connection) -> list[TaskEntity]:
            return [self._entity(row, reader) for row in connection.execute(statement).mappings()]

        return self._database.read(read)

    def history(self, task_id: str, scope: Scope) -> list[TaskEvent]:
        """Return every event of a task, oldest first; none for a task out of the scope.

        A scope of tenants does not see the text with which the broker refused a message.
        """
        if not is_id(task_id):
            return []
        statement = select(task_event).where(task_event.c.task_id == task_id)
        if scope.tenants is not None:
            statement = statement.where(task_event.c.tenant.in_(scope.tenants))
        ordered = statement.order_by(task_event.c.id)

        def read(connection: Connection) -> list[TaskEvent]:
            return [rows.event(row) for row in connection.execute(ordered).mappings()]

        found = self._database.read(read)
        return found if scope.tenants is None else [_without_words(one) for one in found]

    def statuses(self, ids: Iterable[str], scope: Scope) -> dict[str, TaskStatus]:
        """Return the status of each of these tasks that exists in the scope."""
        listed = self._database.dialect.listed_ids("ids")
        sql = f"SELECT id, tenant, status FROM taskdb_task WHERE id IN {listed}"
        found = self._database.query(sql, {"ids": json.dumps(list(ids))}, writes=False)
        return {
            str(row["id"]): TaskStatus(row["status"])
            for row in found
            if scope.allows(row["tenant"])
        }

    def events_after(self, cursor: str | None, limit: int, scope: Scope) -> EventPage:
        """Return the next events of all tasks behind a cursor; without one, from the beginning.

        No event can appear later before one that was read: events are returned once no older
        transaction is open. Raises InvalidInput for a text that is not a cursor.
        """
        after = EventCursor.parse(cursor) if cursor else EventCursor(0, 0)
        statement = events_statement(after, scope, self._database.dialect, limit)

        def read(connection: Connection) -> EventPage:
            found = connection.execute(statement).mappings().all()
            last = EventCursor(found[-1]["xid"], found[-1]["id"]) if found else after
            return EventPage(tuple(rows.event(row) for row in found), str(last))

        page = self._database.read(read)
        if page.events or not self._must_settle():
            return page
        settle(self._database)
        return self._database.read(read)

    def _entity(self, row: Any, reader: TaskReader | None) -> TaskEntity:
        names_payloads = row["input_ref"] is not None or row["result_ref"] is not None
        if reader is not None and names_payloads:
            reader = RowReader(reader, self._payloads, row["input_ref"], row["result_ref"])
        return rows.entity(row, reader)

    def _must_settle(self) -> bool:
        """Return whether a reader without events checks for a restore; at most once a second."""
        now = time.monotonic()
        if now < self._database.settles_again_at:
            return False
        self._database.settles_again_at = now + _SETTLE_SECONDS
        return True

    def _select(
        self,
        chosen: Filter,
        scope: Scope,
        condition: ColumnElement[bool],
        joined: Connection | None = None,
    ) -> Any:
        limits = conditions(chosen, scope, self._database.dialect)
        columns = [task] if joined is None else task_over(joined)
        statement = select(*columns).where(condition, *limits).limit(1)

        def read(connection: Connection) -> Any:
            return connection.execute(statement).mappings().first()

        return read(joined) if joined is not None else self._database.read(read)


def _without_words(event: TaskEvent) -> TaskEvent:
    if "refused" not in event.detail:
        return event
    return replace(event, detail={**event.detail, "refused": _REFUSED})
