"""Tasks that no run ends: taken back from a lost message or a dead worker, revoked or expired."""

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
    """The verbs that end or return a task which no run ends."""

    def __init__(self, aside: Aside, table: TaskTable) -> None:
        self._aside = aside
        self._table = table

    def hand_back_unclaimed(
        self, task_id: str, reason: str, delay: timedelta, *, type: str | None = None
    ) -> bool:
        """A message was lost before a worker claimed its task.

        `type`: the type that the message named; None: any.
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
        """A worker that consumes `queues` does not know `type`: the task waits for the delay.

        FAILED the `limit`-th time, unless a worker that was seen within the lease consumes the
        queue of the row and knows its type. Nothing changes for a row of another type or queue,
        nor for one that was put back less than the delay ago: its own message is yet to come.
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
            # It may be the id of a message with several items.
            several = self._aside.move(WORKER, self._table.moves.stray_chunk, written)
            moved = next((one for one in several if one.after is not None), None)
        return TaskStatus(moved.after) if moved and moved.after else None

    def revoke(self, task_id: str, token: str, error: TaskError) -> bool:
        """CANCEL the run of this token, if the row says that a cancel was asked for."""
        written = {"id": task_id, "token": token, **spelled_error(error)}
        return self._table.has_moved(self._table.moves.revoke, written)

    def expire(self, task_id: str, error: TaskError) -> bool:
        """FAIL it if its deadline passed before its first attempt started."""
        written = {"id": task_id, **spelled_error(error)}
        moves = self._table.moves
        return self._move_any(moves.expire, moves.expire_chunk, written) is not None

    def expire_due(self, error: TaskError, limit: int) -> dict[str, str | None]:
        """FAIL what waits past its deadline; answers the ids, each with that of its parent."""
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
        """Take running tasks back from workers that are not seen any more."""
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
        """Move what a message was about: the task of this id, or else the items of this chunk.

        Answers the id of a task that has moved.
        """
        if self._table.has_moved(one, written):
            return str(written["id"])
        if not is_id(written["id"]):
            return None
        items = self._aside.move(WORKER, several, written)
        return next((item.id for item in items if item.after is not None), None)
