"""Making parents and their first sub-tasks, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from taskdb.entity import TaskKind
from taskdb.errors import DatabaseError
from taskdb.fan_out import Counts, FanOutSpec
from taskdb.sequence import SequenceSpec
from taskdb.status import RUNNING
from taskdb.store import faults, rows
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

        def grow(unit: Unit) -> None:
            insert_parts(unit, as_parts(parts, draft.id, spec))
            begin_to_wait(unit, draft.id, "parts", whole, timeout=spec.timeout)
            unit.after.families.append(draft.id)
            self._begun(unit, draft.id)

        return self._make(draft, on_conflict, grow, connection)

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

        def grow(unit: Unit) -> None:
            begin_to_wait(unit, draft.id, first_stage(spec), whole, timeout=spec.timeout)
            self._begun(unit, draft.id)

        return self._make(draft, on_conflict, grow, connection)

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

    def _make(
        self,
        draft: Draft,
        on_conflict: OnConflict,
        grow: Callable[[Unit], None],
        connection: Connection | None,
    ) -> NewFamily:
        """Insert a parent, and what grows below it where it is new.

        Repeated on a new connection only while nothing is below it: items are read once.
        """
        has_begun = False

        def work() -> NewFamily:
            nonlocal has_begun
            with self._unit(connection, may_idle=True) as unit:
                (created,) = unit.create([draft], on_conflict)
                has_begun = True
                if created.id == draft.id and created.is_new:
                    grow(unit)
                if connection is not None:
                    # Once it has committed, nobody may be there to ask.
                    unit.after.publications = unit.publications(unit.after.ids)
            return NewFamily(created, unit.after)

        try:
            return work()
        except DatabaseError as error:
            if has_begun or not faults.worth_repeating(error.__cause__):
                raise
            return work()

    def _begun(self, unit: Unit, parent_id: str) -> None:
        parent = unit.lock(parent_id)
        if parent is not None and self.decide(unit, parent):
            self._join_above(unit, parent)
