"""End a run, and create the next step or the handlers in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence

from taskdb.model.fan_out import HandlerSpec
from taskdb.model.outcome import Report
from taskdb.model.status import TaskStatus
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.payload.payload import Payload
from taskdb.store.task.detail import spelled_reason
from taskdb.store.task.outcome import status_after
from taskdb.store.task.report import reported
from taskdb.store.task.run import WORKER
from taskdb.store.task.table import TaskTable
from taskdb.store.task.task_id import is_id
from taskdb.store.tree.decision import handlers_of, handlers_spec
from taskdb.store.tree.join import Joins, parents_of_canceled
from taskdb.store.tree.units import Units


class Endings:
    """The verbs of a worker that end a run which leads to another task."""

    def __init__(
        self, database: Database, aside: Aside, table: TaskTable, units: Units, joins: Joins
    ) -> None:
        self._database = database
        self._aside = aside
        self._table = table
        self._units = units
        self._joins = joins

    def complete_step(
        self, task_id: str, token: str, result: Payload, report: Report, parent_id: str
    ) -> TaskStatus | None:
        """Complete a step and create the next one, in one transaction."""
        written = {"result": result.text, "result_ref": result.reference}

        def work() -> TaskStatus | None:
            with self._units.open() as unit:
                parents = self._joins.lock_chain(unit, parent_id)
                parameters = {"token": token, **reported(report), **written}
                moved = unit.move(unit.moves.complete, task_id, **parameters)
                status = status_after(unit.moves.complete, moved, token)
                if status is TaskStatus.COMPLETED:
                    self._joins.decide_chain(unit, parents)
            self._joins.follow(unit.after)
            return status

        return self._database.again(work) if is_id(task_id) else None

    def finish(
        self,
        task_id: str,
        token: str,
        result: Payload,
        report: Report,
        handlers: Sequence[HandlerSpec],
    ) -> TaskStatus | None:
        """Finish a task whose body returned. It is FINISHED until the handlers of its type end."""
        written = {
            "result": result.text,
            "result_ref": result.reference,
            "waits_for": "handlers",
            "timeout": None,
        }

        def work() -> TaskStatus | None:
            with self._units.open() as unit:
                before = handlers_of(unit, task_id)
                parameters = {"token": token, **reported(report), **written}
                parameters["spec"] = handlers_spec(handlers, base=len(before))
                moved = unit.move(unit.moves.finish, task_id, **parameters)
                status = status_after(unit.moves.finish, moved, token)
                parent = unit.lock(task_id)
                if status is TaskStatus.FINISHED and parent is not None:
                    self._joins.decide_chain(unit, [parent])
            self._joins.follow(unit.after)
            return status

        return self._database.again(work) if is_id(task_id) else None

    def hand_back_worker(self, worker: str, reason: str) -> int:
        """Hand back every task that this worker still holds. Returns how many."""
        written = {"worker": worker, "delay": 0.0, "detail": spelled_reason(reason)}
        moved = self._aside.move(WORKER, self._table.moves.hand_back_worker, written)
        for parent_id in parents_of_canceled(moved):
            self._joins.join(parent_id)
        return sum(one.after is not None for one in moved)
