"""What follows when a sub-task has ended: the next step, the next held part, or the parent's end.

A parent waits in a *stage* (its `waits_for`): `parts` of a fan-out; `steps` of a sequence;
`on_start`, `on_join`, `on_success`, `on_error`, one handler; `handlers`, those beside a task
type's own. (`callback` is no such stage: who waits for the outside has no sub-tasks.) Whoever ends
a sub-task asks for a join, as often as it likes: under the parent's lock the rows alone decide, so
that a repeated join, and two at once, change nothing.
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
from taskdb.store.task.statements import FEW
from taskdb.store.task.table import TaskTable
from taskdb.store.task.task_id import LEAST_ID, is_id
from taskdb.store.tree.decision import Decisions
from taskdb.store.tree.unit import Aftermath, Parent, Unit, stored_error
from taskdb.store.tree.units import Units

RECONCILE = "reconcile"
"""Under this name stand parents that could not act, and sub-tasks that could not be stopped."""


@dataclass(frozen=True, slots=True)
class PartsLeft:
    """How many parts of a fan-out are open (counted up to a few), and whether some are held."""

    open: int
    is_held: bool

    @property
    def are_few(self) -> bool:
        """Few enough that each one's end matters."""
        return self.open <= FEW


class Joins:
    """The verbs of the process that has ended a sub-task."""

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
        """Receives the ids of new rows, and of parents with new parts, to publish them soon."""

    # --- what is asked for --------------------------------------------------------------------

    def join(self, parent_id: str | None) -> None:
        """Let a parent act on how its sub-tasks stand, and its own parent on that."""
        if parent_id is not None and is_id(parent_id):
            self.follow(Aftermath(joins=[parent_id]))

    def part_ended(self, parent_id: str, *, badly: bool) -> PartsLeft:
        """A part is over; answers what its parent still waits for.

        One short query, unless the parent has to act before all parts are over.
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
        """Join the parent of a task that has just ended; nothing for one that goes on."""
        place = self._table.place(task_id)
        if place is None:
            # It may be the id of a message with several items.
            self.join(self.parent_of_chunk(task_id))
            return
        if place["parent_id"] is None:
            return
        if TaskStatus(place["status"]).is_terminal:
            self.join(str(place["parent_id"]))

    def parent_of_chunk(self, chunk: str) -> str | None:
        """The parent of the items that share a message; None where no row names the chunk."""
        if not is_id(chunk):
            return None
        sql = "SELECT parent_id FROM taskdb_task WHERE chunk = :id LIMIT 1"
        found = self._database.query(sql, {"id": chunk}, writes=False)
        return str(found[0]["parent_id"]) if found else None

    # --- what the loop asks for ---------------------------------------------------------------

    def neglected(self, limit: int, after: str = "") -> list[str]:
        """Parents that a join would change, behind this id: someone died before asking for it."""
        place = {"limit": limit, "after": after or LEAST_ID}
        found = self._database.query(self._table.queries.neglected, place, writes=False)
        return [str(row["id"]) for row in found]

    def neglected_page(self, look: int, after: str = "") -> tuple[list[str], str]:
        """The same of the next `look` parents that wait, and the place behind them.

        The place is empty behind the last parent. What it costs does not depend on how many
        parents wait.
        """
        place = {"look": look, "after": after or LEAST_ID}
        found = self._database.query(self._table.queries.neglected_page, place, writes=False)
        edge = next((str(row["id"]) for row in found if row["is_last"]), "")
        return [str(row["id"]) for row in found if not row["is_last"]], edge

    def stop_overdue(self, limit: int) -> list[str]:
        """Begin to stop parents whose time is up; answers which. Their sub-tasks are canceled."""
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

    # --- how it is carried out ----------------------------------------------------------------

    def follow(self, after: Aftermath) -> None:
        """Do what a committed unit left to do; joins lead to others, up to the root."""
        waiting = [after]
        while waiting:
            one = waiting.pop()
            if one.ids or one.families:
                self.on_new(one.ids, one.families)
            for task_id, error in one.failed:
                self._aside.note(RECONCILE, task_id, error)
            # One parent that cannot act keeps no other from it: the loop has it again later.
            waiting.extend(self._aside.each(RECONCILE, list(reversed(one.joins)), self._joined))

    def _joined(self, parent_id: str) -> Aftermath:
        def work(*, is_careful: bool = False) -> Aftermath:
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
        """Let a parent that has just begun to wait decide: it may have no sub-tasks at all."""
        parent = unit.lock(parent_id)
        if parent is not None:
            self.decide(unit, parent)

    def decide(self, unit: Unit, parent: Parent) -> None:
        """Let a locked parent decide, and note the join of its own parent where it has ended."""
        if self._decisions.decide(unit, parent):
            self._join_above(unit, parent)

    def lock_chain(self, unit: Unit, parent_id: str) -> list[Parent]:
        """A parent and, as far up as each is a step of the next, those above it; the top first.

        The end of a step and the next step belong to one transaction.
        """
        line: list[str] = []
        # Asked over the connection that the unit has already: who held one and waited for another
        # would wait for its like.
        place = unit.place(parent_id)
        while place is not None:
            line.append(str(place["id"]))
            is_step = place["role"] == TaskRole.STEP
            place = unit.place(str(place["parent_id"])) if is_step else None
        locked = [unit.lock(task_id) for task_id in reversed(line)]
        return [parent for parent in locked if parent is not None]

    def decide_chain(self, unit: Unit, parents: Sequence[Parent]) -> None:
        """Let the lowest decide, and each above it for as long as they end."""
        for parent in reversed(parents):
            if not self._decisions.decide(unit, parent):
                return
        if parents:
            self._join_above(unit, parents[0])

    def _join_above(self, unit: Unit, ended: Parent) -> None:
        if ended.parent_id is not None:
            unit.after.joins.append(ended.parent_id)


def parents_of_canceled(moved: Sequence[Moved]) -> list[str]:
    """The parents of what a move has canceled at once, each once; it answers `parent_id`."""
    found = [
        str(one.before["parent_id"])
        for one in moved
        if one.after == TaskStatus.CANCELED and one.before["parent_id"] is not None
    ]
    return list(dict.fromkeys(found))


def leave_to_relay(_ids: Sequence[str], _families: Sequence[str]) -> None:
    """The default of `on_new`."""
