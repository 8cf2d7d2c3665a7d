"""A task that splits itself, and what is asked of the parts of a fan-out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from taskdb.model.entity import TaskKind
from taskdb.model.fan_out import Counts, FanOutSpec
from taskdb.model.json_text import encode
from taskdb.model.status import RUNNING
from taskdb.store.contract import Draft, Publication, Scope
from taskdb.store.task import row as rows
from taskdb.store.task.part import LEAST_ID, is_id
from taskdb.store.task.read import Reading
from taskdb.store.tree.growth import as_parts, insert_parts
from taskdb.store.tree.join import Joining
from taskdb.store.tree.unit import Unit, counts_of


class Families(Joining, Reading):
    """The verbs of a task that has parts."""

    def fan_out_own(
        self, task_id: str, token: str, parts: Callable[[], Iterable[Draft]], spec: FanOutSpec
    ) -> bool:
        """A body splits its own task: it becomes the parent and waits; False if it may not.

        It may not when another run has the task, or someone asked to cancel it. Repeated for the
        same run it makes nothing and answers the same.
        """
        if not is_id(task_id):
            return False
        whole = {"fan_out": spec.as_json()}
        with self._unit(may_idle=True) as unit:
            own = unit.lock(task_id)
            if own is None or own.claim_token != token:
                return False
            if own.kind is TaskKind.FAN_OUT and own.waits_for is not None:
                # By this run, whose answer was lost.
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
            self._begun(unit, task_id)
        self.follow(unit.after)
        return True

    def counts(self, parent_id: str, scope: Scope) -> Counts:
        """How many parts of a fan-out are where, by one query over an index.

        Raises TaskNotFound for a parent out of the scope.
        """
        if scope.tenants is not None:
            self.get(parent_id, scope)
        place = {"parent": parent_id}
        return counts_of(self.database.query(self.queries.counts, place, writes=False))

    def family_page(self, parent_id: str, after: str, limit: int) -> list[Publication]:
        """Parts behind this id that wait to be published, in order."""
        place = {"parent": parent_id, "after": after or LEAST_ID, "limit": limit}
        found = self.database.query(self.queries.family, place, writes=False)
        return [rows.publication(row) for row in found]

    def _begun(self, unit: Unit, parent_id: str) -> None:
        parent = unit.lock(parent_id)
        if parent is not None and self.decide(unit, parent):
            self._join_above(unit, parent)
