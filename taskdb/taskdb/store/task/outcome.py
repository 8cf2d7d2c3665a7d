"""The outcomes of a run. The claim token of the run is the fence: one outcome is accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from taskdb.model.entity import TaskError
from taskdb.model.outcome import NO_REPORT, Report
from taskdb.model.status import MOVES, TERMINAL, TaskStatus
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.dialect import Moved, MoveStatement
from taskdb.store.payload.payload import Payload
from taskdb.store.task.detail import spelled_error, spelled_reason
from taskdb.store.task.report import reported
from taskdb.store.task.run import WORKER
from taskdb.store.task.table import TaskTable
from taskdb.store.task.task_id import is_id

_LEADS_TO = {
    "complete": MOVES["complete"].targets,
    "await_callback": MOVES["wait"].targets | TERMINAL | {TaskStatus.FINISHED},
    "finish": {*MOVES["finish"].targets, *MOVES["complete"].targets, *MOVES["fail"].targets},
    "error": MOVES["error"].targets | {TaskStatus.CANCELED},
    # A callback that came in the meantime turns the failure into another attempt.
    "fail": MOVES["fail"].targets | {TaskStatus.CANCELED, TaskStatus.ERRORED},
    "halt": MOVES["halt"].targets | {TaskStatus.CANCELED},
    "cancel_own": MOVES["cancel"].targets,
    "snooze": MOVES["snooze"].targets | {TaskStatus.CANCELED},
    "hand_back": MOVES["hand back"].targets | {TaskStatus.CANCELED},
    "crash": MOVES["crash"].targets | {TaskStatus.CANCELED},
}
"""The statuses to which a write of a run may lead. CANCELED where a cancel was requested."""


class Outcomes:
    """The verbs that end a run.

    Each verb returns the new status, or None when the outcome was not accepted: another outcome
    was accepted, or the run has lost the task. The same outcome again returns the same status.
    """

    def __init__(self, aside: Aside, table: TaskTable) -> None:
        self._aside = aside
        self._table = table

    def complete(
        self, task_id: str, token: str, result: Payload, report: Report = NO_REPORT
    ) -> TaskStatus | None:
        """Write the result of a body that returned."""
        written = {"result": result.text, "result_ref": result.reference}
        moves = self._table.moves
        statement = moves.complete_silent if report == NO_REPORT else moves.complete
        return self._end(statement, task_id, token, report, written)

    def complete_many(self, token: str, results: Mapping[str, Payload]) -> set[str]:
        """Write the results of items of a chunk. Returns the ids that this run COMPLETED."""
        given = [
            {"id": task_id, "result": result.text, "result_ref": result.reference}
            for task_id, result in results.items()
        ]
        statement = self._table.moves.complete_many
        written = {"token": token, "given": json.dumps(given)}
        moved = self._aside.move(WORKER, statement, written)
        return {
            one.id for one in moved if status_after(statement, one, token) is TaskStatus.COMPLETED
        }

    def error(
        self,
        task_id: str,
        token: str,
        error: TaskError,
        delay: timedelta,
        report: Report = NO_REPORT,
    ) -> TaskStatus | None:
        """Write the error of an attempt. Another attempt follows after the delay."""
        written = {**spelled_error(error), "delay": delay.total_seconds()}
        return self._end(self._table.moves.error, task_id, token, report, written)

    def fail(
        self, task_id: str, token: str, error: TaskError, report: Report = NO_REPORT
    ) -> TaskStatus | None:
        """Write the error of the last attempt."""
        return self._end(self._table.moves.fail, task_id, token, report, spelled_error(error))

    def halt(
        self, task_id: str, token: str, error: TaskError, report: Report = NO_REPORT
    ) -> TaskStatus | None:
        """Halt the task: its body asked for a person."""
        return self._end(self._table.moves.halt, task_id, token, report, spelled_error(error))

    def cancel(
        self, task_id: str, token: str, error: TaskError, report: Report = NO_REPORT
    ) -> TaskStatus | None:
        """Cancel the task: its body asked for it."""
        written = spelled_error(error)
        return self._end(self._table.moves.cancel_own, task_id, token, report, written)

    def snooze(
        self, task_id: str, token: str, delay: timedelta, report: Report = NO_REPORT
    ) -> TaskStatus | None:
        """Run the task later: its body asked for it. This run does not count."""
        written = {"delay": delay.total_seconds()}
        return self._end(self._table.moves.snooze, task_id, token, report, written)

    def hand_back(self, task_id: str, token: str, reason: str) -> TaskStatus | None:
        """Return the task to CREATED, due at once. This run does not count."""
        written = {"delay": 0.0, "detail": spelled_reason(reason)}
        return self._end(self._table.moves.hand_back, task_id, token, NO_REPORT, written)

    def crash(
        self, task_id: str, token: str, error: TaskError, *, delay: timedelta, max_crashes: int
    ) -> TaskStatus | None:
        """Record that the process of this run died. At `max_crashes` crashes the task is HALTED."""
        written = {
            **spelled_error(error),
            "delay": delay.total_seconds(),
            "max_crashes": max_crashes,
        }
        return self._end(self._table.moves.crash, task_id, token, NO_REPORT, written)

    def crash_chunk(self, chunk: str, token: str, error: TaskError) -> int:
        """Record the crash of a chunk; its items get messages of their own. Returns how many."""
        if not is_id(chunk):
            return 0
        written = {
            "id": chunk,
            "token": token,
            **spelled_error(error),
            "delay": 0.0,
            "max_crashes": 1,
        }
        moved = self._aside.move(WORKER, self._table.moves.crash_chunk, written)
        return sum(one.after is not None for one in moved)

    def hand_back_chunk(self, chunk: str, token: str, reason: str) -> int:
        """Hand back the unfinished items of a chunk whose worker stopped. Returns how many.

        The run does not count. Each item is published in a message of its own.
        """
        if not is_id(chunk):
            return 0
        written = {
            "id": chunk, "token": token, "delay": 0.0, "detail": spelled_reason(reason)
        }  # fmt: skip
        moved = self._aside.move(WORKER, self._table.moves.hand_back_chunk, written)
        return sum(one.after is not None for one in moved)

    def _end(
        self,
        statement: MoveStatement,
        task_id: str,
        token: str,
        report: Report,
        written: dict[str, Any],
    ) -> TaskStatus | None:
        parameters = {"id": task_id, "token": token, **reported(report), **written}
        return status_after(statement, self._table.move(statement, parameters), token)


def status_after(statement: MoveStatement, moved: Moved | None, token: str) -> TaskStatus | None:
    """Return the status to which an outcome led; None when it was not accepted."""
    if moved is None:
        return None
    if moved.after is not None:
        return TaskStatus(moved.after)
    # This may be the second try of a write whose reply from the database was lost.
    status = TaskStatus(moved.before["status"])
    own = moved.before["claim_token"] == token and status in _LEADS_TO[statement.name]
    return status if own else None
