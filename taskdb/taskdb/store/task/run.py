"""A run while it lasts: a worker claims a task, reports progress and asks about a cancel."""

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
"""Rows that a worker could not write with others; once it has let go of them they are rescued."""
_STOPPED = spelled_reason("stopped by a rule")
NO_ROW = Claim(granted=False, status=None)
"""The answer to a claim of a row that does not exist, or that is of another type."""


class Runs:
    """The verbs of a worker about a run; a run is named by its task and its claim token."""

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
        """Take a task for one run. A claim whose answer was lost may be repeated.

        `may_rerun`: whether another run may follow one whose process died. `type`: the type whose
        body would run; a row of another type is answered like a row that does not exist. `attempt`:
        the attempt that the row must have had when the message was signed. None asks for neither.
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
        """Take the waiting items of one message, in order; `type` and `attempt` as for `claim`.

        At most `count`: a chunk that was published in two messages is run by both, each with the
        time that it has for its own.
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
        """Take back what a rule stops that its message did not know of; answers how many.

        Nothing has run, so nothing is counted: it waits before the gate for its slots.
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
        """Record what the body reported; the first time it becomes PROCESSING."""
        if not is_id(task_id):
            return False
        parameters = {"id": task_id, "token": token, **reported(report)}
        if self._database.query(self._table.queries.report, parameters):
            return True
        return self._table.has_moved(self._table.moves.progress, parameters)

    def is_cancel_wanted(self, task_id: str, token: str) -> bool:
        """Whether someone asked this run to stop, or it has lost its claim."""
        if not is_id(task_id):
            return True
        place = {"id": task_id, "token": token}
        return not self._database.query(self._table.queries.cancel_wanted, place, writes=False)

    def cancel_wanted_among(self, ids: Sequence[str], token: str) -> set[str]:
        """Those of some tasks of this run that someone asked to stop, or that it has lost."""
        parameters = {"ids": json.dumps(list(ids)), "token": token}
        found = self._database.query(self._table.queries.going_on, parameters, writes=False)
        return set(ids) - {str(row["id"]) for row in found}

    def remark(self, task_id: str, detail: dict[str, Any]) -> bool:
        """Add a line to the history of a task that does not move."""
        if not is_id(task_id):
            return False
        written = {"id": task_id, "detail": encode(detail, "detail")}
        return bool(self._database.query(self._table.queries.remark, written))
