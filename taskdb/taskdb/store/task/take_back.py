"""Take tasks back from lost messages and dead workers, and end revoked and expired tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from taskdb.model.entity import TaskError
from taskdb.model.status import TaskStatus
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.dialect import MoveStatement
from taskdb.store.task.detail import spelled_error, spelled_reason
from taskdb.store.task.run import WORKER
from taskdb.store.task.table import TaskTable
from taskdb.store.task.task_id import is_id


class TakeBacks:
    """The verbs that end or return a task that no run ends."""

    def __init__(self, aside: Aside, table: TaskTable) -> None:
        self._aside = aside
        self._table = table

    def hand_back_unclaimed(
        self, task_id: str, reason: str, delay: timedelta, *, type: str | None = None
    ) -> bool:
        """Return a task to CREATED whose message was lost before a claim. Returns whether it moved.

        `type`: the type that the message named; None: any type.
        """
        written = {
            "id": task_id,
            "type": type,
            "delay": delay.total_seconds(),
            "detail": spelled_reason(reason),
        }
        moves = self._table.moves
        several = moves.hand_back_unclaimed_chunk
        return self._move_any(moves.hand_back_unclaimed, several, written) is not None

    def stray(
        self,
        task_id: str,
        error: TaskError,
        *,
        delay: timedelta,
        limit: int,
        lease: timedelta,
        type: str,
        queues: Sequence[str],
    ) -> TaskStatus | None:
        """Make a task wait for the delay: a worker that consumes `queues` does not know `type`.

        The `limit`-th time the task becomes FAILED, unless a worker seen within the lease consumes
        its queue and knows its type. A row of another type or queue does not change. Neither does
        a row that was returned less than the delay ago: its own message is still to come.
        """
        written = {
            "id": task_id,
            **spelled_error(error),
            "strays": limit,
            "delay": delay.total_seconds(),
            "lease": lease.total_seconds(),
            "type": type,
            "queues": json.dumps(list(queues)),
        }
        moved = self._table.move(self._table.moves.stray, written)
        if moved is None and is_id(task_id):
            # The id may be that of a message with several items.
            several = self._aside.move(WORKER, self._table.moves.stray_chunk, written)
            moved = next((one for one in several if one.after is not None), None)
        return TaskStatus(moved.after) if moved and moved.after else None

    def revoke(self, task_id: str, token: str, error: TaskError) -> bool:
        """Cancel the run of this token if a cancel was requested. Returns whether it moved."""
        written = {"id": task_id, "token": token, **spelled_error(error)}
        return self._table.has_moved(self._table.moves.revoke, written)

    def expire(self, task_id: str, error: TaskError) -> bool:
        """Fail a task whose deadline passed before its first attempt. Returns whether it moved."""
        written = {"id": task_id, **spelled_error(error)}
        moves = self._table.moves
        return self._move_any(moves.expire, moves.expire_chunk, written) is not None

    def expire_due(self, error: TaskError, limit: int) -> dict[str, str | None]:
        """Fail tasks that wait past their deadline. Returns their ids with those of parents."""
        written = {"limit": limit, **spelled_error(error)}
        moved = self._aside.move("expire", self._table.moves.expire_due, written)
        return {
            one.id: None if one.before["parent_id"] is None else str(one.before["parent_id"])
            for one in moved
            if one.after is not None
        }

    def rescue(
        self, error: TaskError, *, lease: timedelta, limit: int, max_crashes: int
    ) -> dict[str, TaskStatus]:
        """Take tasks back from workers not seen within the lease. Returns their new statuses."""
        parameters = {
            **spelled_error(error),
            "lease": lease.total_seconds(),
            "limit": limit,
            "max_crashes": max_crashes,
            "delay": 0.0,
        }
        moved = self._aside.move("rescue", self._table.moves.rescue, parameters)
        return {one.id: TaskStatus(one.after) for one in moved if one.after is not None}

    def _move_any(
        self, one: MoveStatement, several: MoveStatement, written: dict[str, Any]
    ) -> str | None:
        """Move the task of this id, or else the items of this chunk.

        Returns the id of a task that moved; None where none did.
        """
        if self._table.has_moved(one, written):
            return str(written["id"])
        if not is_id(written["id"]):
            return None
        items = self._aside.move(WORKER, several, written)
        return next((item.id for item in items if item.after is not None), None)
