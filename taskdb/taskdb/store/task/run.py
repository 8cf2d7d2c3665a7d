"""A run while it lasts: a worker claims a task, reports progress and checks for a cancel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from taskdb.model.json_text import encode
from taskdb.model.outcome import Report
from taskdb.store.contract import Claim
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.task import row as rows
from taskdb.store.task.detail import spelled_reason
from taskdb.store.task.report import reported
from taskdb.store.task.table import TaskTable
from taskdb.store.task.task_id import is_id

WORKER = "worker"
"""The name under which a worker sets aside rows that fail. The rescue takes them back later."""
_STOPPED = spelled_reason("stopped by a rule")
NO_ROW = Claim(granted=False, status=None)
"""The result of a claim of a row that does not exist or has another type."""


class Runs:
    """The verbs of a worker during a run. The task and the claim token identify the run."""

    def __init__(self, database: Database, aside: Aside, table: TaskTable) -> None:
        self._database = database
        self._aside = aside
        self._table = table

    def claim(
        self,
        task_id: str,
        *,
        token: str,
        worker: str,
        max_attempts: int,
        may_rerun: bool = True,
        type: str | None = None,
        attempt: int | None = None,
    ) -> Claim:
        """Take a task for one run. A worker may repeat a claim whose result was lost.

        `may_rerun`: whether another run may follow one whose process died. `type`: the type whose
        body would run; a row of another type counts as a row that does not exist. `attempt`: the
        attempt that the row must have, from the signed message. None: any type, any attempt.
        """
        parameters = {
            "id": task_id,
            "token": token,
            "worker": worker,
            "max_attempts": max_attempts,
            "may_rerun": may_rerun,
            "type": type,
            "attempt": attempt,
        }
        moved = self._table.move(self._table.moves.claim, parameters)
        if moved is None:
            return NO_ROW
        claim = rows.claim(moved, token)
        return NO_ROW if type is not None and claim.type != type else claim

    def claim_chunk(
        self,
        chunk: str,
        *,
        token: str,
        worker: str,
        max_attempts: int,
        count: int,
        may_rerun: bool = True,
        type: str | None = None,
        attempt: int | None = None,
    ) -> list[Claim]:
        """Take at most `count` waiting items of one message, in order.

        `type` and `attempt` are as for `claim`. Of a chunk that was published in two messages, each
        runs as many items as it was published for, within its own time limit.
        """
        if not is_id(chunk):
            return []
        parameters = {
            "id": chunk,
            "token": token,
            "worker": worker,
            "max_attempts": max_attempts,
            "may_rerun": may_rerun,
            "type": type,
            "attempt": attempt,
            "count": count,
        }
        moved = self._aside.move(WORKER, self._table.moves.claim_chunk, parameters)
        claims = self._aside.each(
            WORKER, moved, lambda one: rows.claim(one, token), key=lambda one: one.id
        )
        granted = [claim for claim in claims if claim.granted]
        return sorted(granted, key=lambda claim: claim.position or 0)

    def hold(self, task_id: str, *, chunk: bool = False) -> int:
        """Hold tasks that are stopped by a limit or pause set after their message was sent.

        Returns the number of held tasks. No body ran, so no attempt is counted.
        """
        moves = self._table.moves
        written = {"id": task_id, "detail": _STOPPED}
        if not is_id(task_id):
            return 0
        if chunk:
            moved = self._aside.move(WORKER, moves.hold_chunk, written)
        else:
            moved = self._database.move(moves.hold, written)
        return sum(one.after is not None for one in moved)

    def progress(self, task_id: str, token: str, report: Report) -> bool:
        """Record a report; the first one moves to PROCESSING. False where the run lost the task."""
        if not is_id(task_id):
            return False
        parameters = {"id": task_id, "token": token, **reported(report)}
        if self._database.query(self._table.queries.report, parameters):
            return True
        return self._table.has_moved(self._table.moves.progress, parameters)

    def is_cancel_wanted(self, task_id: str, token: str) -> bool:
        """Return whether a cancel of this run was requested, or the run has lost the task."""
        if not is_id(task_id):
            return True
        place = {"id": task_id, "token": token}
        return not self._database.query(self._table.queries.cancel_wanted, place, writes=False)

    def cancel_wanted_among(self, ids: Sequence[str], token: str) -> set[str]:
        """Return the tasks of which a cancel was requested, or which this run has lost."""
        parameters = {"ids": json.dumps(list(ids)), "token": token}
        found = self._database.query(self._table.queries.going_on, parameters, writes=False)
        return set(ids) - {str(row["id"]) for row in found}

    def remark(self, task_id: str, detail: dict[str, Any]) -> bool:
        """Add a history row to a task that does not move. Returns False where there is no task."""
        if not is_id(task_id):
            return False
        written = {"id": task_id, "detail": encode(detail, "detail")}
        return bool(self._database.query(self._table.queries.remark, written))
