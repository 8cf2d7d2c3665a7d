"""A run: taken by a claim, ended by one outcome, or taken back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from taskdb.model.entity import TaskError
from taskdb.model.json_text import encode, storable
from taskdb.model.outcome import NO_REPORT, Report
from taskdb.model.status import MOVES, TERMINAL, TaskStatus
from taskdb.store.contract import Claim
from taskdb.store.engine.dialect import Moved, MoveStatement
from taskdb.store.payload.payload import Payload
from taskdb.store.task import row as rows
from taskdb.store.task.part import StorePart, is_id, spelled_error, spelled_reason

_MESSAGE_LIMIT = 2_000
_LEADS_TO = {
    "complete": MOVES["complete"].targets,
    "await_callback": MOVES["wait"].targets | TERMINAL | {TaskStatus.FINISHED},
    "finish": {*MOVES["finish"].targets, *MOVES["complete"].targets, *MOVES["fail"].targets},
    "error": MOVES["error"].targets | {TaskStatus.CANCELED},
    # A callback that was answered meanwhile has made another attempt of it.
    "fail": MOVES["fail"].targets | {TaskStatus.CANCELED, TaskStatus.ERRORED},
    "halt": MOVES["halt"].targets | {TaskStatus.CANCELED},
    "cancel_own": MOVES["cancel"].targets,
    "snooze": MOVES["snooze"].targets | {TaskStatus.CANCELED},
    "hand_back": MOVES["hand back"].targets | {TaskStatus.CANCELED},
    "crash": MOVES["crash"].targets | {TaskStatus.CANCELED},
}
"""Where the row of a run stands after its own write: a person may have wanted a cancel."""
WORKER = "worker"
"""Rows that a worker could not write with others; once it has let go of them they are rescued."""
_STOPPED = spelled_reason("stopped by a rule")
NO_ROW = Claim(granted=False, status=None)
"""The answer to a claim of a row that does not exist, or that is of another type."""


class Running(StorePart):
    """The verbs of a worker; those of a run carry its claim token.

    An outcome answers the new status, or None when it was not accepted: another one was, or the
    task has been taken away from this run. Repeating the same outcome answers the same.
    """

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
        moved = self.move_one(self.moves.claim, parameters)
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
        moved = self.aside.move(WORKER, self.moves.claim_chunk, parameters)
        claims = self.aside.each(
            WORKER, moved, lambda one: rows.claim(one, token), key=lambda one: one.id
        )
        granted = [claim for claim in claims if claim.granted]
        return sorted(granted, key=lambda claim: claim.position or 0)

    def hold(self, task_id: str, *, chunk: bool = False) -> int:
        """Take back what a rule stops that its message did not know of; answers how many.

        Nothing has run, so nothing is counted: it waits before the gate for its slots.
        """
        moves = self.moves
        written = {"id": task_id, "detail": _STOPPED}
        if not is_id(task_id):
            return 0
        if chunk:
            moved = self.aside.move(WORKER, moves.hold_chunk, written)
        else:
            moved = self.database.move(moves.hold, written)
        return sum(one.after is not None for one in moved)

    def complete_many(self, token: str, results: Mapping[str, Payload]) -> set[str]:
        """Items of a chunk returned; answers the ids of those that are COMPLETED by this run."""
        given = [
            {"id": task_id, "result": result.text, "result_ref": result.reference}
            for task_id, result in results.items()
        ]
        statement = self.moves.complete_many
        written = {"token": token, "given": json.dumps(given)}
        moved = self.aside.move(WORKER, statement, written)
        return {
            one.id
            for one in moved
            if self.status_after(statement, one, token) is TaskStatus.COMPLETED
        }

    def cancel_wanted_among(self, ids: Sequence[str], token: str) -> set[str]:
        """Those of some tasks of this run that someone asked to stop, or that it has lost."""
        parameters = {"ids": json.dumps(list(ids)), "token": token}
        found = self.database.query(self.queries.going_on, parameters, writes=False)
        return set(ids) - {str(row["id"]) for row in found}

    def progress(self, task_id: str, token: str, report: Report) -> bool:
        """Record what the body reported; the first time it becomes PROCESSING."""
        if not is_id(task_id):
            return False
        parameters = {"id": task_id, "token": token, **reported(report)}
        if self.database.query(self.queries.report, parameters):
            return True
        return self.moves_one(self.moves.progress, parameters)

    def complete(
        self, task_id: str, token: str, result: Payload, report: Report = NO_REPORT
    ) -> TaskStatus | None:
        """The body returned."""
        written = {"result": result.text, "result_ref": result.reference}
        moves = self.moves
        statement = moves.complete_silent if report == NO_REPORT else moves.complete
        return self._end(statement, task_id, token, report, written)

    def error(
        self,
        task_id: str,
        token: str,
        error: TaskError,
        delay: timedelta,
        report: Report = NO_REPORT,
    ) -> TaskStatus | None:
        """The attempt failed and another follows after the delay."""
        written = {**spelled_error(error), "delay": delay.total_seconds()}
        return self._end(self.moves.error, task_id, token, report, written)

    def fail(
        self, task_id: str, token: str, error: TaskError, report: Report = NO_REPORT
    ) -> TaskStatus | None:
        """The attempt failed and none follows."""
        return self._end(self.moves.fail, task_id, token, report, spelled_error(error))

    def halt(
        self, task_id: str, token: str, error: TaskError, report: Report = NO_REPORT
    ) -> TaskStatus | None:
        """The body wants a person to look."""
        return self._end(self.moves.halt, task_id, token, report, spelled_error(error))

    def cancel_own(
        self, task_id: str, token: str, error: TaskError, report: Report = NO_REPORT
    ) -> TaskStatus | None:
        """The body canceled itself."""
        written = spelled_error(error)
        return self._end(self.moves.cancel_own, task_id, token, report, written)

    def snooze(
        self, task_id: str, token: str, delay: timedelta, report: Report = NO_REPORT
    ) -> TaskStatus | None:
        """The body wants to run later; this run does not count."""
        written = {"delay": delay.total_seconds()}
        return self._end(self.moves.snooze, task_id, token, report, written)

    def hand_back(self, task_id: str, token: str, reason: str) -> TaskStatus | None:
        """This run does not count; the task waits to be published again at once."""
        written = {"delay": 0.0, "detail": spelled_reason(reason)}
        return self._end(self.moves.hand_back, task_id, token, NO_REPORT, written)

    def cancel_wanted(self, task_id: str, token: str) -> bool:
        """Whether someone asked this run to stop, or it has lost its claim."""
        if not is_id(task_id):
            return True
        place = {"id": task_id, "token": token}
        return not self.database.query(self.queries.cancel_wanted, place, writes=False)

    # --- what only the worker's main process, or rescue, can know ------------------------------

    def crash(
        self, task_id: str, token: str, error: TaskError, *, delay: timedelta, max_crashes: int
    ) -> TaskStatus | None:
        """The process of this run died; the `max_crashes`-th time the task is HALTED."""
        written = {
            **spelled_error(error),
            "delay": delay.total_seconds(),
            "max_crashes": max_crashes,
        }
        return self._end(self.moves.crash, task_id, token, NO_REPORT, written)

    def crash_chunk(self, chunk: str, token: str, error: TaskError) -> int:
        """The process of a chunk died; its unfinished items go on alone. Answers how many."""
        if not is_id(chunk):
            return 0
        written = {
            "id": chunk,
            "token": token,
            **spelled_error(error),
            "delay": 0.0,
            "max_crashes": 1,
        }
        moved = self.aside.move(WORKER, self.moves.crash_chunk, written)
        return sum(one.after is not None for one in moved)

    def hand_back_chunk(self, chunk: str, token: str, reason: str) -> int:
        """The process of a chunk ended with its worker: its unfinished items go on alone, unspent.

        Answers how many.
        """
        if not is_id(chunk):
            return 0
        written = {
            "id": chunk, "token": token, "delay": 0.0, "detail": spelled_reason(reason)
        }  # fmt: skip
        moved = self.aside.move(WORKER, self.moves.hand_back_chunk, written)
        return sum(one.after is not None for one in moved)

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
        moves = self.moves
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
        moved = self.move_one(self.moves.stray, written)
        if moved is None and is_id(task_id):
            # It may be the id of a message with several items.
            several = self.aside.move(WORKER, self.moves.stray_chunk, written)
            moved = next((one for one in several if one.after is not None), None)
        return TaskStatus(moved.after) if moved and moved.after else None

    def revoke(self, task_id: str, token: str, error: TaskError) -> bool:
        """CANCEL the run of this token, if the row says that a cancel was asked for."""
        written = {"id": task_id, "token": token, **spelled_error(error)}
        return self.moves_one(self.moves.revoke, written)

    def expire(self, task_id: str, error: TaskError) -> bool:
        """FAIL it if its deadline passed before its first attempt started."""
        written = {"id": task_id, **spelled_error(error)}
        moves = self.moves
        return self._move_any(moves.expire, moves.expire_chunk, written) is not None

    def expire_due(self, error: TaskError, limit: int) -> dict[str, str | None]:
        """FAIL what waits past its deadline; answers the ids, each with that of its parent."""
        written = {"limit": limit, **spelled_error(error)}
        moved = self.aside.move("expire", self.moves.expire_due, written)
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
        moved = self.aside.move("rescue", self.moves.rescue, parameters)
        return {one.id: TaskStatus(one.after) for one in moved if one.after is not None}

    def remark(self, task_id: str, detail: dict[str, Any]) -> bool:
        """Add a line to the history of a task that does not move."""
        if not is_id(task_id):
            return False
        written = {"id": task_id, "detail": encode(detail, "detail")}
        return bool(self.database.query(self.queries.remark, written))

    def _move_any(
        self, one: MoveStatement, several: MoveStatement, written: dict[str, Any]
    ) -> str | None:
        """Move what a message was about: the task of this id, or else the items of this chunk.

        Answers the id of a task that has moved.
        """
        if self.moves_one(one, written):
            return str(written["id"])
        if not is_id(written["id"]):
            return None
        items = self.aside.move(WORKER, several, written)
        return next((item.id for item in items if item.after is not None), None)

    def _end(
        self,
        statement: MoveStatement,
        task_id: str,
        token: str,
        report: Report,
        written: dict[str, Any],
    ) -> TaskStatus | None:
        parameters = {"id": task_id, "token": token, **reported(report), **written}
        return self.status_after(statement, self.move_one(statement, parameters), token)

    def status_after(
        self, statement: MoveStatement, moved: Moved | None, token: str
    ) -> TaskStatus | None:
        """What an outcome led to; None when it was not accepted."""
        if moved is None:
            return None
        if moved.after is not None:
            return TaskStatus(moved.after)
        # The answer to this very write may have been lost, and the write was tried again.
        status = TaskStatus(moved.before["status"])
        own = moved.before["claim_token"] == token and status in _LEADS_TO[statement.name]
        return status if own else None


def reported(report: Report) -> dict[str, Any]:
    """The parameters of what a body said beside its outcome."""
    if report is NO_REPORT:
        return _NOTHING
    changed = report.attributes is not None
    message = report.message
    return {
        "attributes": encode(report.attributes, "ctx.attributes") if changed else None,
        "current": report.current,
        "total": report.total,
        "message": None if message is None else storable(message, _MESSAGE_LIMIT),
    }


_NOTHING: dict[str, Any] = {"attributes": None, "current": None, "total": None, "message": None}
