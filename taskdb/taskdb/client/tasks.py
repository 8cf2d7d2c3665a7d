"""Reads tasks: one, a page, the history, the payloads, and the explanation."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, get_args

from taskdb.celery.broker_state import broker_state
from taskdb.client.caller.caller import Caller
from taskdb.client.criteria import Criteria, filter_of
from taskdb.client.explanation import Explanation, explain
from taskdb.client.wait.waits import Waits
from taskdb.errors import Fault, InvalidInput, TaskNotFound
from taskdb.model.bounds import shown, spelled
from taskdb.model.entity import Side, TaskEntity, TaskEvent
from taskdb.model.reference import adopted_id, parse_reference
from taskdb.settings.settings import Settings
from taskdb.store.store import Store
from taskdb.store.task.list import Cursor, Order

DEEPEST = 5
"""The most levels of a tree that one explanation covers."""
PAGE_LIMIT = 1_000
"""The most tasks of one page."""


class TaskPage(tuple[TaskEntity, ...]):  # noqa: SLOT001 - it carries the cursor beside the tasks
    """Tasks of one page; `next_cursor` leads to the next page, None if there is none."""

    next_cursor: str | None = None


class Tasks:
    """The tasks that a caller sees. It also refreshes the entities that it returns."""

    def __init__(self, settings: Settings, store: Store, caller: Caller, waits: Waits) -> None:
        self._settings = settings
        self._store = store
        self._scope = caller.scope
        self._waits = waits

    def get_task(self, reference: str) -> TaskEntity:
        """See `TaskDB.get_task`."""
        place = parse_reference(spelled(reference))
        if place is None:
            return self._adopted(spelled(reference))
        if place.position is not None:
            found = self._store.tasks.get_sub_task(place.id, place.position, self._scope, self)
        else:
            found = self._store.tasks.get(place.id, self._scope, self)
        if place.key is not None and found.key != place.key:
            raise TaskNotFound(place.key)
        return found

    def wait_task(self, reference: str, timeout: float | None = None) -> TaskEntity:
        """See `TaskDB.wait_task`."""
        return self._waits.wait(self.get_task, reference, timeout)

    async def wait_task_async(
        self,
        reference: str,
        timeout: float | None,  # noqa: ASYNC109 - as its twin
    ) -> TaskEntity:
        """Wait as `wait_task` does, without holding a thread."""
        return await self._waits.wait_async(self.get_task, reference, timeout)

    def id_of(self, reference: str) -> str:
        """Return the id of the task with this id, code or key; raises TaskNotFound."""
        place = parse_reference(spelled(reference))
        if place is not None and place.key is None:
            # This raises TaskNotFound if there is no such task, or none in this scope.
            return self._store.tasks.get(place.id, self._scope).id
        return self.get_task(reference).id

    def page(self, criteria: Criteria, *, limit: int, cursor: str | None, order: Order) -> TaskPage:
        """See `TaskDB.list_tasks`."""
        if type(limit) is not int or not 1 <= limit <= PAGE_LIMIT:
            raise InvalidInput("the list request", [Fault("limit", f"1 to {PAGE_LIMIT}")])
        if order not in {"newest", "oldest"}:
            raise InvalidInput("the list request", [Fault("order", "newest or oldest")])
        after = None if cursor is None else Cursor.parse(cursor)
        chosen = filter_of(criteria)
        found = self._store.tasks.page(
            chosen, self._scope, limit=limit + 1, order=order, after=after, reader=self
        )
        page = TaskPage(found[:limit])
        if len(found) > limit:
            page.next_cursor = str(Cursor(page[-1].created_at, page[-1].id))
        return page

    def history(self, reference: str) -> list[TaskEvent]:
        """See `TaskDB.task_history`."""
        return self._store.tasks.history(self.id_of(reference), self._scope)

    def explain(self, reference: str) -> Explanation:
        """See `TaskDB.explain_task`."""
        lease = timedelta(seconds=self._settings.worker_lease_seconds)
        ids = [self.id_of(reference)]
        levels: list[Explanation] = []
        for task_id in ids:
            standing = self._store.situations.get(task_id, self._scope, lease=lease)
            levels.append(explain(standing, partial(broker_state, self._settings), lease=lease))
            if standing.first_open is not None and len(ids) < DEEPEST:
                ids.append(standing.first_open)
        below: Explanation | None = None
        for one in reversed(levels):
            below = replace(one, below=below)
        return below or levels[0]

    def read_payload(self, reference: str, side: Side = "input") -> Any:
        """See `Payloads.read`."""
        if side not in get_args(Side):
            advice = f"{shown(side)} is none of {', '.join(get_args(Side))}"
            raise InvalidInput("the payload request", [Fault("side", advice)])
        found = self.get_task(reference)
        return found.input if side == "input" else found.result

    def _adopted(self, celery_id: str) -> TaskEntity:
        with suppress(TaskNotFound):
            found = self._store.tasks.get(adopted_id(celery_id), self._scope, self)
            if found.is_adopted:
                return found
        raise TaskNotFound(celery_id)
