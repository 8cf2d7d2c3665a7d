"""Submit again a tree that ended badly, by its unique key.

The same work continues where it failed, with the options of the new submit. COMPLETED tasks do not
run again. Other work (another input, other items, a later time) is a new task: the tree gives up
the key and stays as it ended. This happens under the lock of the root of the tree, in the
transaction of the submit. A tree that has moved in the meantime stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from taskdb.errors import PayloadMissing
from taskdb.model.entity import TaskKind
from taskdb.model.fan_out import WINDOW, FanOutSpec
from taskdb.model.sequence import SequenceSpec
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Draft
from taskdb.store.engine.session import Row
from taskdb.store.engine.types import as_json
from taskdb.store.payload.payload import Payloads
from taskdb.store.task.create import Created
from taskdb.store.task.detail import spelled_reason
from taskdb.store.task.parent import Parent
from taskdb.store.task.statements import BAD
from taskdb.store.tree.growth import PRUNED
from taskdb.store.tree.rerun import Reruns
from taskdb.store.tree.unit import Unit

ENDED_BADLY = frozenset({TaskStatus.FAILED, TaskStatus.HALTED})
"""The statuses of trees that a submit of their unique key runs again."""
_PAGE = 1_000
_AGAIN = spelled_reason("submitted again")
_REPLACED = spelled_reason("submitted again as other work")


@dataclass(slots=True)
class Items:
    """The parts of a submit, which can be read once, and those that were read for a comparison."""

    rest: Iterator[Draft]
    read: list[Draft] = field(default_factory=list)

    def __iter__(self) -> Iterator[Draft]:
        """Yield all parts, the compared ones first."""
        yield from self.read
        yield from self.rest

    def page(self) -> list[Draft]:
        """Read the next parts, at most 1,000."""
        found = list(islice(self.rest, _PAGE))
        self.read += found
        return found


class Resubmissions:
    """The verb that runs again, or replaces, a tree that a submit has found."""

    def __init__(self, payloads: Payloads, reruns: Reruns) -> None:
        self._payloads = payloads
        self._reruns = reruns

    def anew(
        self,
        unit: Unit,
        draft: Draft,
        found: Created,
        *,
        items: Items | None = None,
    ) -> Created:
        """Continue the tree, or create a new row in its place. Returns the row of the draft.

        `is_new` of the result: the row of the draft was inserted, and the caller creates the tasks
        below it. A tree that is no longer in a bad status is returned as it is.
        """
        row = unit.lock(found.id)
        if row is None:
            return unit.create([draft], "resubmit")[0]
        if row.status not in {*ENDED_BADLY, TaskStatus.SCHEDULED}:
            return replace(found, status=row.status)
        if self._is_same_work(unit, row, draft, items):
            self._goes_on(unit, row, draft, items)
            now = unit.place(row.id)
            return replace(found, status=found.status if now is None else TaskStatus(now["status"]))
        if not row.status.is_terminal:
            unit.move_all(unit.moves.cancel, [row.id], detail=_REPLACED)
        return unit.create([draft], "new")[0]

    # --- the same work ------------------------------------------------------------------------

    def _is_same_work(self, unit: Unit, row: Parent, draft: Draft, items: Items | None) -> bool:
        if PRUNED in row.spec:
            return False
        if draft.kind is TaskKind.FAN_OUT:
            is_alike = "fan_out" in row.spec and row.attempt == 0
            return is_alike and items is not None and self._has_items(unit, row.id, items)
        if draft.kind is TaskKind.SEQUENCE:
            return "sequence" in row.spec and self._has_input(row, draft)
        # A task whose body ran and split it.
        is_alike = "fan_out" in row.spec and row.attempt > 0 and not _is_later(draft)
        return is_alike and self._has_input(row, draft)

    def _has_input(self, row: Parent, draft: Draft) -> bool:
        stored = (row.input, row.input_ref)
        return _is_same_input(self._payloads, stored, (draft.input, draft.input_ref))

    def _has_items(self, unit: Unit, parent_id: str, items: Items) -> bool:
        after = -1
        while True:
            page = items.page()
            parts = unit.parts(parent_id, after, _PAGE)
            if len(page) != len(parts) or not all(map(self._is_same_part, parts, page)):
                return False
            if not parts:
                return True
            after = parts[-1]["position"]

    def _is_same_part(self, part: Row, draft: Draft) -> bool:
        stored = (as_json(part["input"]), part["input_ref"])
        return _is_same_input(self._payloads, stored, (draft.input, draft.input_ref))

    # --- continue -----------------------------------------------------------------------------

    def _goes_on(
        self,
        unit: Unit,
        row: Parent,
        draft: Draft,
        items: Items | None,
    ) -> None:
        whole = row.spec if draft.spec is None else _merged(row.spec, draft.spec)
        unit.move_given(unit.moves.ask_anew, [replace(draft, id=row.id)], detail=_AGAIN)
        asked = replace(unit.lock(row.id) or row, spec=whole)
        if items is not None:
            self._parts_anew(unit, asked, items.read)
        self._reruns.run_again(unit, asked, None)

    def _parts_anew(self, unit: Unit, row: Parent, drafts: Sequence[Draft]) -> None:
        """Move bad parts with the options of their drafts. Parts that are parents come later."""
        has_window = FanOutSpec.from_json(row.spec["fan_out"]).max_concurrency is not None
        after, remaining = -1, iter(drafts)
        while parts := unit.parts(row.id, after, _PAGE):
            after = parts[-1]["position"]
            again = [
                replace(draft, id=str(part["id"]))
                for part, draft in zip(parts, islice(remaining, len(parts)), strict=True)
                if TaskStatus(part["status"]) in BAD and not part["is_parent"]
            ]
            self._publish_parts(unit, again, held_by=WINDOW if has_window else None)

    def _publish_parts(self, unit: Unit, again: Sequence[Draft], held_by: str | None) -> None:
        if not again:
            return
        written = {"grace": unit.grace_seconds, "held_by": held_by, "detail": _AGAIN}
        moved = unit.move_given(unit.moves.resubmit_part, again, **written)
        if held_by is None and not _is_later(again[0]):
            unit.after.ids.extend(one.id for one in moved if one.after is not None)


def _merged(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of a tree that continues, with new options. A sequence keeps its steps."""
    if "sequence" not in stored:
        return {**stored, **asked}
    before = SequenceSpec.from_json(stored["sequence"])
    timeout = SequenceSpec.from_json(asked["sequence"]).timeout
    return {**stored, "sequence": replace(before, timeout=timeout).as_json()}


def _is_later(draft: Draft) -> bool:
    if draft.delay is not None:
        return draft.delay > timedelta(0)
    return draft.run_at is not None and draft.run_at > datetime.now(UTC)


def _is_same_input(
    payloads: Payloads, one: tuple[Any, str | None], other: tuple[Any, str | None]
) -> bool:
    try:
        return _is_alike(payloads.unpack(*one), payloads.unpack(*other))
    except PayloadMissing:
        return False


def _is_alike(one: Any, other: Any) -> bool:
    """Return whether JSON values are equal. In Python `True == 1`, which JSON does not mean."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_alike, one, other))
    return bool(one == other)


def as_items(parts: Iterable[Draft]) -> Items:
    """Return parts that can be compared before they are inserted."""
    return Items(iter(parts))
