"""Cancel and retry tasks by hand.

A parent is canceled and retried together with its sub-tasks. A retry of a sub-task reopens its
parents, in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from taskdb.errors import IllegalMove, SequenceAlreadyCompleted, TaskIsAdopted, TaskIsPruned
from taskdb.model.adopted import celery_id_of
from taskdb.model.entity import TaskEntity, TaskKind
from taskdb.model.principal.permission import ANYTHING, Permission
from taskdb.model.status import MOVES, RETRIED_IN_BULK, TaskStatus, check_move, in_order
from taskdb.store.contract import Publication, Scope
from taskdb.store.engine.database import Database
from taskdb.store.task.detail import spelled_reason
from taskdb.store.task.permission import places_of
from taskdb.store.task.publish import Publications
from taskdb.store.task.read import Tasks
from taskdb.store.task.table import TaskTable
from taskdb.store.task.task_id import is_id
from taskdb.store.tree.decision import waiting_parents
from taskdb.store.tree.growth import PRUNED
from taskdb.store.tree.join import Joins, parents_of_canceled
from taskdb.store.tree.rerun import BY_HAND, Reruns
from taskdb.store.tree.unit import Unit
from taskdb.store.tree.units import Units

_CANCELED = "canceled by hand"
_REQUEST = "the retry request"


class Interventions:
    """The verbs of a person. Each verb acts only on tenants of its scope.

    `by`: the actor in the history. `may_run`: the permission of a client that may not run every
    queue, type and priority.
    """

    def __init__(
        self,
        database: Database,
        table: TaskTable,
        tasks: Tasks,
        publications: Publications,
        units: Units,
        joins: Joins,
        reruns: Reruns,
    ) -> None:
        self._database = database
        self._table = table
        self._tasks = tasks
        self._publications = publications
        self._units = units
        self._joins = joins
        self._reruns = reruns

    def cancel(self, task_id: str, scope: Scope, by: str | None = None) -> None:
        """Cancel a task: at once while it waits; while its body runs, request the cancel.

        A parent ends when its open sub-tasks, which are canceled too, have ended. A second cancel
        changes nothing. Raises TaskNotFound; IllegalMove for a task that ended otherwise;
        TaskIsAdopted for an adopted task.
        """
        found = self._tasks.get(task_id, scope)
        _refuse_adopted("cancel", found)
        if found.status is TaskStatus.CANCELED or self.cancel_some([task_id], by):
            return
        if self._tasks.get(task_id, scope).status is not TaskStatus.CANCELED:
            self._refuse("cancel", task_id, scope)

    def retry(
        self,
        task_id: str,
        scope: Scope,
        by: str | None = None,
        *,
        force: bool = False,
        only: frozenset[TaskStatus] = MOVES["retry"].sources,
        may_run: Permission = ANYTHING,
    ) -> list[Publication]:
        """Retry a task with a whole budget. Returns the publications; the caller publishes them.

        `only`: the statuses from which the task may be retried.

        A parent runs its sub-tasks that ended badly again, a sequence continues at its failed step;
        with `force` all sub-tasks run again. A sub-task reopens its FAILED or CANCELED ancestors.
        Raises TaskNotFound; IllegalMove for a task that has not ended and is not waiting, and for
        a sub-task of a parent that COMPLETED; SequenceAlreadyCompleted; TaskIsAdopted;
        TaskIsPruned; InvalidInput for a place that `may_run` does not allow.
        """
        found = self._tasks.get(task_id, scope)
        _refuse_adopted("retry", found)
        if may_run.is_limited:
            may_run.check(_REQUEST, places_of(self._database, found))
        if found.kind is TaskKind.SEQUENCE and found.status is TaskStatus.COMPLETED and not force:
            raise SequenceAlreadyCompleted(task_id)
        if found.spec is None and found.parent_id is None:
            moved, published = self.retry_alone([task_id], only, by)
            if not moved:
                self._refuse("retry", task_id, scope)
            return published
        return self._retry_in_tree(found, only, by, force=force)

    def cancel_some(self, ids: Sequence[str], by: str | None) -> int:
        """Cancel these tasks. Returns the number of tasks that moved."""
        parameters = {"ids": listed(ids), "detail": spelled_reason(_CANCELED, by)}
        moved = self._database.move(self._table.moves.cancel, parameters)
        for parent_id in waiting_parents(moved):
            # The join finds the requested cancel, and stops the sub-tasks.
            self._joins.join(parent_id)
        for parent_id in parents_of_canceled(moved):
            self._joins.join(parent_id)
        return sum(one.after is not None for one in moved)

    def retry_alone(
        self, ids: Sequence[str], only: frozenset[TaskStatus], by: str | None
    ) -> tuple[int, list[Publication]]:
        """Retry tasks outside trees. Returns how many moved, and publications of those not held."""
        parameters = {
            "ids": listed(ids),
            "detail": spelled_reason(BY_HAND, by),
            "delay": self._units.grace.total_seconds(),
            "held_by": None,
        }
        moves = self._table.moves
        statement = moves.retry_ended_badly if only <= RETRIED_IN_BULK else moves.retry
        moved = self._database.move(statement, parameters)
        again = [one.id for one in moved if one.after is not None]
        return len(again), self._publications.find(again)

    def _retry_in_tree(
        self, found: TaskEntity, only: frozenset[TaskStatus], by: str | None, *, force: bool
    ) -> list[Publication]:
        chain = self._chain(found)

        def work() -> tuple[Unit, list[str]]:
            with self._units.open() as unit:
                unit.by = by
                locked = [unit.lock(one) for one in chain]
                parents = [one for one in locked if one is not None]
                if len(parents) != len(chain):
                    raise IllegalMove("retry", "pruned", (), found.id)
                if PRUNED in parents[0].spec:
                    raise TaskIsPruned("retry", found.id, parents[0].id, found.status)
                if parents[-1].status not in only:
                    raise IllegalMove("retry", parents[-1].status, in_order(only), found.id)
                self._reruns.reopen_above(unit, parents)
                above = parents[-2] if len(parents) > 1 else None
                self._reruns.run_again(unit, parents[-1], above, force=force)
            published, unit.after.ids = unit.after.ids, []
            return unit, published

        unit, ids = self._database.again(work)
        self._joins.follow(unit.after)
        return self._publications.find(ids)

    def _chain(self, found: TaskEntity) -> list[str]:
        """Return the ids from the root down to this task."""
        chain = [found.id]
        above = found.parent_id
        while above is not None:
            chain.insert(0, above)
            place = self._table.place(above)
            above = None if place is None or place["parent_id"] is None else str(place["parent_id"])
        return chain

    def _refuse(self, verb: str, task_id: str, scope: Scope) -> None:
        status = self._tasks.get(task_id, scope).status
        check_move(verb, status, task_id)
        # The row moved between the two statements. Its status before did not allow the verb.
        raise IllegalMove(verb, status, in_order(MOVES[verb].sources), task_id)


def _refuse_adopted(verb: str, found: TaskEntity) -> None:
    if found.is_adopted:
        raise TaskIsAdopted(verb, found.id, found.type, found.status, celery_id_of(found))


def listed(ids: Sequence[str]) -> str:
    return json.dumps([task_id for task_id in ids if is_id(task_id)])
