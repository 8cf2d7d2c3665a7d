"""Making parents and their first sub-tasks, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from taskdb.entity import TaskKind
from taskdb.fan_out import Counts, FanOutSpec
from taskdb.sequence import SequenceSpec
from taskdb.status import RUNNING
from taskdb.store import rows
from taskdb.store.contract import Draft, OnConflict, Publication
from taskdb.store.creation import Created
from taskdb.store.encode import encode
from taskdb.store.growing import as_parts, begin_to_wait, first_stage, insert_parts
from taskdb.store.joining import Joining
from taskdb.store.part import LEAST_ID, is_id
from taskdb.store.unit import Aftermath, Unit, counts_of


@dataclass(frozen=True, slots=True)
class NewFamily:
    """A parent that was asked for, and what is to be done once its transaction has committed."""

    created: Created
    after: Aftermath


class Families(Joining):
    """The verbs that make trees of tasks."""

    def create_fan_out(
        self,
        parent: Draft,
        parts: Iterable[Draft],
        spec: FanOutSpec,
        *,
        on_conflict: OnConflict = "keep",
        connection: Connection | None = None,
    ) -> NewFamily:
        """Insert a parent and its parts; nothing of them is to be seen before all are there.

        `parts` is read once, a batch at a time. Where the parent's unique key is taken, the answer
        is the task that has it, and no part is read. A parent without parts ends at once.
        """
        whole = {"fan_out": spec.as_json()}
        draft = replace(parent, kind=TaskKind.FAN_OUT, spec=whole)

        def work(unit: Unit) -> Created:
            (created,) = unit.create([draft], on_conflict)
            if created.id == draft.id and created.is_new:
                insert_parts(unit, as_parts(parts, draft.id, spec))
                begin_to_wait(unit, draft.id, "parts", whole, timeout=spec.timeout)
                unit.after.families.append(draft.id)
                self._begun(unit, draft.id)
            return created

        return self._make(work, connection)

    def create_sequence(
        self,
        parent: Draft,
        spec: SequenceSpec,
        *,
        on_conflict: OnConflict = "keep",
        connection: Connection | None = None,
    ) -> NewFamily:
        """Insert a sequence and what it begins with."""
        whole = {"sequence": spec.as_json()}
        draft = replace(parent, kind=TaskKind.SEQUENCE, spec=whole)

        def work(unit: Unit) -> Created:
            (created,) = unit.create([draft], on_conflict)
            if created.id == draft.id and created.is_new:
                begin_to_wait(unit, draft.id, first_stage(spec), whole, timeout=spec.timeout)
                self._begun(unit, draft.id)
            return created

        return self._make(work, connection)

    def fan_out_own(
        self, task_id: str, token: str, parts: Callable[[], Iterable[Draft]], spec: FanOutSpec
    ) -> bool:
        """A body splits its own task: it becomes the parent and waits; False if it may not.

        It may not when another run has the task, or someone asked to cancel it.
        """
        if not is_id(task_id):
            return False
        whole = {"fan_out": spec.as_json()}
        with self._unit(may_idle=True) as unit:
            own = unit.lock(task_id)
            if own is None or own.claim_token != token or own.is_cancel_wanted:
                return False
            if own.status not in RUNNING or own.waits_for is not None:
                return False
            insert_parts(unit, as_parts(parts(), task_id, spec))
            unit.move(
                unit.moves.fan_out,
                task_id,
                token=token,
                waits_for="parts",
                spec=encode(whole, "spec"),
                timeout=spec.timeout,
                detail=encode({"waits_for": "parts"}, "detail"),
            )
            unit.after.families.append(task_id)
            self._begun(unit, task_id)
        self.follow(unit.after)
        return True

    def counts(self, parent_id: str) -> Counts:
        """How many parts of a fan-out are where, by one query over an index."""
        place = {"parent": parent_id}
        return counts_of(self.database.query(self.database.queries.counts, place, writes=False))

    def family_page(self, parent_id: str, after: str, limit: int) -> list[Publication]:
        """Parts behind this id that wait to be published, in order."""
        place = {"parent": parent_id, "after": after or LEAST_ID, "limit": limit}
        found = self.database.query(self.database.queries.family, place, writes=False)
        return [rows.publication(row) for row in found]

    def _make(self, work: Callable[[Unit], Created], connection: Connection | None) -> NewFamily:
        with self._unit(connection, may_idle=True) as unit:
            created = work(unit)
            if connection is not None:
                # Once it has committed, nobody may be there to ask.
                unit.after.publications = unit.publications(unit.after.ids)
        return NewFamily(created, unit.after)

    def _begun(self, unit: Unit, parent_id: str) -> None:
        parent = unit.lock(parent_id)
        if parent is not None and self.decide(unit, parent):
            self._join_above(unit, parent)
