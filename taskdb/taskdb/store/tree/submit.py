"""Insert the rows of a submit, all or none, also where a tree has the unique key of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from taskdb.errors import DatabaseError
from taskdb.model.entity import TaskKind
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.sequence import SequenceSpec
from taskdb.store.contract import Draft, OnConflict, Scope
from taskdb.store.engine import faults
from taskdb.store.engine.database import Database
from taskdb.store.task.create import Created
from taskdb.store.tree.growth import as_parts, begin_to_wait, first_stage, insert_parts
from taskdb.store.tree.join import Joins
from taskdb.store.tree.resubmission import Items, Resubmissions, as_items
from taskdb.store.tree.unit import FollowUp, Unit
from taskdb.store.tree.units import Units


@dataclass(frozen=True, slots=True)
class NewFamily:
    """The parent of a submit, and the work that follows the commit of its transaction."""

    created: Created
    after: FollowUp


class Submissions:
    """The verbs of a submit."""

    def __init__(
        self, database: Database, units: Units, joins: Joins, resubmissions: Resubmissions
    ) -> None:
        self._database = database
        self._units = units
        self._joins = joins
        self._resubmissions = resubmissions

    def create(
        self,
        drafts: Sequence[Draft],
        scope: Scope,
        *,
        on_conflict: OnConflict = "resubmit",
        connection: Connection | None = None,
        after: FollowUp | None = None,
    ) -> list[Created]:
        """Insert tasks, all or none. Returns the row of each draft, in order.

        With a connection the rows belong to its transaction, and the work that follows its commit
        is added to `after`. Without one they are committed on return. Raises InvalidInput for a
        tenant out of the scope.
        """
        drafts = list(_within(scope, drafts))
        if connection is not None:
            with self._units.open(connection) as unit:
                created = self._create_in(unit, drafts, on_conflict)
                if after is not None and unit.after.ids:
                    # Now, since the work after the caller's commit must not query the database.
                    after.publications += unit.publications(unit.after.ids)
            return created
        return self._database.again(lambda: self._create_alone(drafts, on_conflict))

    def create_fan_out(
        self,
        parent: Draft,
        parts: Iterable[Draft],
        spec: FanOutSpec,
        scope: Scope,
        *,
        on_conflict: OnConflict = "keep",
        connection: Connection | None = None,
    ) -> NewFamily:
        """Insert a parent and its parts. They become visible together.

        `parts` is read once, in batches. If the unique key of the parent is taken, the result is
        the task that has it; parts are then read only to compare them with those of a task that
        ended badly. A parent without parts ends at once. Raises InvalidInput as `create` does.
        """
        scope.require(parent.tenant)
        whole = {"fan_out": spec.as_json()}
        draft = replace(parent, kind=TaskKind.FAN_OUT, spec=whole)
        items = as_items(_within(scope, parts))

        def grow(unit: Unit) -> None:
            insert_parts(unit, as_parts(items, draft.id, spec))
            begin_to_wait(unit, draft.id, "parts", whole, timeout=spec.timeout)
            unit.after.families.append(draft.id)
            self._joins.begin(unit, draft.id)

        return self._make(draft, on_conflict, grow, connection, items=items)

    def create_sequence(
        self,
        parent: Draft,
        spec: SequenceSpec,
        scope: Scope,
        *,
        on_conflict: OnConflict = "keep",
        connection: Connection | None = None,
    ) -> NewFamily:
        """Insert a sequence and its first sub-task.

        Raises InvalidInput for a tenant out of the scope.
        """
        scope.require(parent.tenant)
        whole = {"sequence": spec.as_json()}
        draft = replace(parent, kind=TaskKind.SEQUENCE, spec=whole)

        def grow(unit: Unit) -> None:
            begin_to_wait(unit, draft.id, first_stage(spec), whole, timeout=spec.timeout)
            self._joins.begin(unit, draft.id)

        return self._make(draft, on_conflict, grow, connection)

    def _make(
        self,
        draft: Draft,
        on_conflict: OnConflict,
        grow: Callable[[Unit], None],
        connection: Connection | None,
        *,
        items: Items | None = None,
    ) -> NewFamily:
        """Insert a parent, and the tasks below it where it is new.

        Repeats on a new connection only before it creates these tasks: items are read once.
        """
        has_begun = False

        def work() -> NewFamily:
            nonlocal has_begun
            with self._units.open(connection, may_idle=True) as unit:
                (created,) = unit.create([draft], on_conflict)
                has_begun = True
                if created.is_left:
                    created = self._resubmissions.anew(unit, draft, created, items=items)
                if created.id == draft.id and created.is_new:
                    grow(unit)
                if connection is not None:
                    # Now, since the work after the caller's commit must not query the database.
                    unit.after.publications = unit.publications(unit.after.ids)
            return NewFamily(created, unit.after)

        try:
            return work()
        except DatabaseError as error:
            is_ours = connection is None
            if has_begun or not is_ours or not faults.worth_repeating(error.__cause__):
                raise
            return work()

    def _create_alone(self, drafts: Sequence[Draft], on_conflict: OnConflict) -> list[Created]:
        # One statement needs no transaction around it, which saves round trips.
        if len(drafts) == 1 and drafts[0].unique_key is None:
            with self._database.session() as session:
                return self._units.creation(session).create(drafts, on_conflict)
        with self._units.open() as unit:
            created = self._create_in(unit, drafts, on_conflict)
        self._joins.follow(unit.after)
        return created

    def _create_in(
        self, unit: Unit, drafts: Sequence[Draft], on_conflict: OnConflict
    ) -> list[Created]:
        created = unit.create(drafts, on_conflict)
        return [
            self._resubmissions.anew(unit, draft, one) if one.is_left else one
            for draft, one in zip(drafts, created, strict=True)
        ]


def _within(scope: Scope, drafts: Iterable[Draft]) -> Iterator[Draft]:
    """Yield the drafts. Raises InvalidInput at the first one out of the scope."""
    for draft in drafts:
        scope.require(draft.tenant)
        yield draft
