"""Joins: after the end of a sub-task, create the next step, release held parts, or end the parent.

A parent waits in a *stage* (its `waits_for`): `parts` of a fan-out; `steps` of a sequence;
`on_start`, `on_join`, `on_success` or `on_error`, for one handler; `handlers`, for the further
handlers of a task type. (`callback` is no such stage, since such a task has no sub-tasks.) The
process that ends a sub-task requests a join of the parent. Under the lock of the parent the rows
alone decide, so a repeated or a concurrent join changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taskdb.model.entity import TaskError, TaskRole
from taskdb.model.status import TaskStatus
from taskdb.store.engine.aside import Aside, is_of_a_row
from taskdb.store.engine.database import Database
from taskdb.store.engine.dialect import Moved
from taskdb.store.task.detail import spelled_reason
from taskdb.store.task.parent import Parent
from taskdb.store.task.statements import FEW
from taskdb.store.task.table import TaskTable
from taskdb.store.task.task_id import LEAST_ID, is_id
from taskdb.store.tree.decision import Decisions
from taskdb.store.tree.unit import FollowUp, Unit, stored_error
from taskdb.store.tree.units import Units

RECONCILE = "reconcile"
"""The name under which parents whose join fails, and sub-tasks that do not stop, are set aside."""


@dataclass(frozen=True, slots=True)
class PartsLeft:
    """The number of open parts of a fan-out (counted up to a few), and whether a part is held."""

    open: int
    is_held: bool

    @property
    def are_few(self) -> bool:
        """Whether so few parts are open that the end of each one matters."""
        return self.open <= FEW


class Joins:
    """Lets parents act on the ends of their sub-tasks. Any process may request a join."""

    def __init__(
        self,
        database: Database,
        aside: Aside,
        table: TaskTable,
        units: Units,
        decisions: Decisions,
    ) -> None:
        self._database = database
        self._aside = aside
        self._table = table
        self._units = units
        self._decisions = decisions
        self.on_new: Callable[[Sequence[str], Sequence[str]], None] = leave_to_relay
        """Called with the ids of new rows, and of parents with new parts, to publish them soon."""

    # --- requests of the process that ended a sub-task ----------------------------------------

    def join(self, parent_id: str | None) -> None:
        """Let a parent act on the states of its sub-tasks, and then its own parent."""
        if parent_id is not None and is_id(parent_id):
            self.follow(FollowUp(joins=[parent_id]))

    def part_ended(self, parent_id: str, *, badly: bool) -> PartsLeft:
        """Act on the end of a part. Returns the parts for which its parent still waits.

        This is one short query, unless the parent has to act before all parts have ended.
        """
        if not is_id(parent_id):
            return PartsLeft(1, is_held=False)
        place = {"parent": parent_id}
        found = self._database.query(self._table.queries.parts_left, place, writes=False)[0]
        left = PartsLeft(int(found["open"]), is_held=bool(found["is_held"]))
        if left.open and (left.is_held or (badly and found["is_hasty"])):
            self.join(parent_id)
        return left

    def settle(self, task_id: str) -> None:
        """Join the parent of a task that has just ended. Do nothing for a task that has not."""
        place = self._table.place(task_id)
        if place is None:
            # The id may be that of a message with several items.
            self.join(self.parent_of_chunk(task_id))
            return
        if place["parent_id"] is None:
            return
        if TaskStatus(place["status"]).is_terminal:
            self.join(str(place["parent_id"]))

    def parent_of_chunk(self, chunk: str) -> str | None:
        """Return the parent of the items that share a message; None where there is no item."""
        if not is_id(chunk):
            return None
        sql = "SELECT parent_id FROM taskdb_task WHERE chunk = :id LIMIT 1"
        found = self._database.query(sql, {"id": chunk}, writes=False)
        return str(found[0]["parent_id"]) if found else None

    # --- verbs of the reconcile loop ----------------------------------------------------------

    def neglected(self, limit: int, after: str = "") -> list[str]:
        """Return parents behind this id that need a join which a dead process did not request."""
        place = {"limit": limit, "after": after or LEAST_ID}
        found = self._database.query(self._table.queries.neglected, place, writes=False)
        return [str(row["id"]) for row in found]

    def neglected_page(self, look: int, after: str = "") -> tuple[list[str], str]:
        """Return those among the next `look` parents that wait, and the id of the last of these.

        The id is empty behind the last parent. The cost does not depend on the number of parents
        that wait.
        """
        place = {"look": look, "after": after or LEAST_ID}
        found = self._database.query(self._table.queries.neglected_page, place, writes=False)
        edge = next((str(row["id"]) for row in found if row["is_last"]), "")
        return [str(row["id"]) for row in found if not row["is_last"]], edge

    def stop_overdue(self, limit: int) -> list[str]:
        """Stop parents whose deadline passed, and cancel their sub-tasks. Returns the parents."""
        found = self._database.query(self._table.queries.overdue, {"limit": limit}, writes=False)
        ids = [str(row["id"]) for row in found]

        def doom(parent_id: str) -> str | None:
            return parent_id if self._doom(parent_id) else None

        return [one for one in self._aside.each(RECONCILE, ids, doom) if one is not None]

    def _doom(self, parent_id: str) -> bool:
        error = TaskError("TimedOut", "its time was up before all its sub-tasks had ended")

        def work() -> bool:
            with self._units.open() as unit:
                parent = unit.lock(parent_id)
                if parent is None:
                    return False
                moved = unit.move(
                    unit.moves.doom,
                    parent_id,
                    error=stored_error(error),
                    detail=spelled_reason(error.message),
                )
            return moved is not None and moved.after is not None

        is_doomed = self._database.again(work)
        if is_doomed:
            self.join(parent_id)
        return is_doomed

    # --- execution ----------------------------------------------------------------------------

    def follow(self, after: FollowUp) -> None:
        """Do the work that follows a committed unit, with the joins up to the root."""
        waiting = [after]
        while waiting:
            one = waiting.pop()
            if one.ids or one.families:
                self.on_new(one.ids, one.families)
            for task_id, error in one.failed:
                self._aside.note(RECONCILE, task_id, error)
            # A parent whose join fails does not stop the others. The loop tries it again later.
            waiting.extend(self._aside.each(RECONCILE, list(reversed(one.joins)), self._joined))

    def _joined(self, parent_id: str) -> FollowUp:
        def work(*, is_careful: bool = False) -> FollowUp:
            with self._units.open(is_careful=is_careful) as unit:
                self.decide_chain(unit, self.lock_chain(unit, parent_id))
            return unit.after

        try:
            return self._database.again(work)
        except Exception as error:
            if not is_of_a_row(error):
                raise
            return self._database.again(lambda: work(is_careful=True))

    def begin(self, unit: Unit, parent_id: str) -> None:
        """Let a parent that starts to wait decide, since it may have no sub-tasks."""
        parent = unit.lock(parent_id)
        if parent is not None:
            self.decide(unit, parent)

    def decide(self, unit: Unit, parent: Parent) -> None:
        """Let a locked parent decide. If it ends, note the join of its own parent."""
        if self._decisions.decide(unit, parent):
            self._join_above(unit, parent)

    def lock_chain(self, unit: Unit, parent_id: str) -> list[Parent]:
        """Lock a parent, and the parents above it while each is a step. Returns the top first.

        The end of a step and the next step belong to one transaction.
        """
        chain: list[str] = []
        # Over the connection of the unit: processes that hold a connection and wait for another
        # one could wait for each other.
        place = unit.place(parent_id)
        while place is not None:
            chain.append(str(place["id"]))
            is_step = place["role"] == TaskRole.STEP
            place = unit.place(str(place["parent_id"])) if is_step else None
        locked = [unit.lock(task_id) for task_id in reversed(chain)]
        return [parent for parent in locked if parent is not None]

    def decide_chain(self, unit: Unit, parents: Sequence[Parent]) -> None:
        """Let the lowest parent decide, and each one above while the one below it ends."""
        for parent in reversed(parents):
            if not self._decisions.decide(unit, parent):
                return
        if parents:
            self._join_above(unit, parents[0])

    def _join_above(self, unit: Unit, ended: Parent) -> None:
        if ended.parent_id is not None:
            unit.after.joins.append(ended.parent_id)


def parents_of_canceled(moved: Sequence[Moved]) -> list[str]:
    """Return the parents of tasks that a move canceled, each once. It must return `parent_id`."""
    found = [
        str(one.before["parent_id"])
        for one in moved
        if one.after == TaskStatus.CANCELED and one.before["parent_id"] is not None
    ]
    return list(dict.fromkeys(found))


def leave_to_relay(_ids: Sequence[str], _families: Sequence[str]) -> None:
    """Do nothing: the relay publishes the rows. The default of `on_new`."""
