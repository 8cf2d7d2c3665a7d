"""Split a task into parts while it runs, and count the parts of a fan-out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from taskdb.model.entity import TaskKind
from taskdb.model.fan_out import Counts, FanOutSpec
from taskdb.model.json_text import encode
from taskdb.model.status import RUNNING
from taskdb.store.contract import Draft, Scope
from taskdb.store.engine.database import Database
from taskdb.store.task.read import Tasks
from taskdb.store.task.table import TaskTable
from taskdb.store.task.task_id import is_id
from taskdb.store.tree.growth import as_parts, insert_parts
from taskdb.store.tree.join import Joins
from taskdb.store.tree.unit import counts_of
from taskdb.store.tree.units import Units


class FanOuts:
    """The verbs of a task that has parts."""

    def __init__(
        self, database: Database, table: TaskTable, tasks: Tasks, units: Units, joins: Joins
    ) -> None:
        self._database = database
        self._table = table
        self._tasks = tasks
        self._units = units
        self._joins = joins

    def split(
        self, task_id: str, token: str, parts: Callable[[], Iterable[Draft]], spec: FanOutSpec
    ) -> bool:
        """Split the task of a running body into parts. The task becomes their parent and waits.

        Returns False where another run has the task or a cancel was requested. A second call of
        the same run creates nothing and returns the same.
        """
        if not is_id(task_id):
            return False
        whole = {"fan_out": spec.as_json()}
        with self._units.open(may_idle=True) as unit:
            own = unit.lock(task_id)
            if own is None or own.claim_token != token:
                return False
            if own.kind is TaskKind.FAN_OUT and own.waits_for is not None:
                # This run split it already, and the reply was lost.
                return True
            if own.is_cancel_wanted:
                return False
            if own.status not in RUNNING or own.waits_for is not None:
                return False
            insert_parts(unit, as_parts(parts(), task_id, spec))
            unit.move(
                unit.moves.fan_out,
                task_id,
                token=token,
                waits_for="parts",
                spec=encode(whole, "spec", deepest=None),
                timeout=spec.timeout,
                detail=encode({"waits_for": "parts"}, "detail"),
            )
            unit.after.families.append(task_id)
            self._joins.begin(unit, task_id)
        self._joins.follow(unit.after)
        return True

    def counts(self, parent_id: str, scope: Scope) -> Counts:
        """Count the parts of a fan-out by status, with one query over an index.

        Raises TaskNotFound for a parent out of the scope.
        """
        if scope.tenants is not None:
            self._tasks.get(parent_id, scope)
        place = {"parent": parent_id}
        return counts_of(self._database.query(self._table.queries.counts, place, writes=False))
