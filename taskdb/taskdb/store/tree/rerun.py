"""Run a task again, with the tasks below it and the parents above it, in one unit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from taskdb.errors import IllegalMove
from taskdb.model.entity import TaskRole
from taskdb.model.fan_out import HANDLER_POSITION, WINDOW, FanOutSpec
from taskdb.model.sequence import SequenceSpec
from taskdb.model.status import MOVES, TaskStatus, in_order
from taskdb.store.payload.payload import Payloads
from taskdb.store.task.parent import Parent
from taskdb.store.task.statements import BAD
from taskdb.store.task.task_id import LEAST_ID
from taskdb.store.tree.decision import (
    HANDLER_NAMES,
    Decisions,
    handlers_base,
    handlers_of,
    newest_handler,
)
from taskdb.store.tree.growth import UNUSABLE, begin_again, begin_to_wait, first_stage
from taskdb.store.tree.join import Joins
from taskdb.store.tree.unit import Unit

BY_HAND = "retried by hand"
_REOPENED = "a sub-task was retried by hand"


class Reruns:
    """The verbs that run locked tasks again."""

    def __init__(self, payloads: Payloads, decisions: Decisions, joins: Joins) -> None:
        self._payloads = payloads
        self._decisions = decisions
        self._joins = joins

    def reopen_above(self, unit: Unit, chain: Sequence[Parent]) -> None:
        """Make each parent wait again for the next task of the chain. Raises IllegalMove."""
        for parent, child in itertools.pairwise(chain):
            if parent.status is TaskStatus.COMPLETED:
                raise _out_of_turn(child, parent)
            stage = _stage_of(parent, child)
            if not self._is_awaited(unit, parent, child, stage):
                raise _out_of_turn(child, parent)
            if parent.status.is_terminal:
                self._reopen(unit, parent, str(stage), _REOPENED)

    def run_again(
        self, unit: Unit, row: Parent, above: Parent | None, *, force: bool = False
    ) -> None:
        """Run a locked task again, with the tasks below it. Raises IllegalMove."""
        allowed = MOVES["retry"].sources
        if row.role in {TaskRole.STEP, TaskRole.HANDLER} and not force:
            # Later sub-tasks have used its result, so it never runs again.
            allowed = allowed - {TaskStatus.COMPLETED}
        if row.status not in allowed or row.waits_for is not None:
            raise IllegalMove("retry", row.status, in_order(allowed), row.id)
        if "fan_out" in row.spec:
            self._parts_again(unit, row, force=force)
        elif "sequence" in row.spec:
            self._steps_again(unit, row, force=force)
        elif "handlers" in row.spec and not force:
            self._handlers_again(unit, row)
        else:
            # A window holds only parts. No join would release a handler that it holds.
            self._rows_again(unit, [row.id], above if row.role is TaskRole.PART else None)

    def _is_awaited(self, unit: Unit, parent: Parent, child: Parent, stage: str | None) -> bool:
        """Return whether a parent that waits in this stage waits for this very sub-task.

        Otherwise the parent could end while the sub-task runs: only the newest step, and the newest
        handler of a stage, decide.
        """
        if stage is None or (not parent.status.is_terminal and parent.waits_for != stage):
            return False
        if stage == "steps":
            base = SequenceSpec.from_json(parent.spec["sequence"]).base
            newest = unit.newest_step(parent.id, base)
            return newest is not None and newest.id == child.id
        if stage == "handlers":
            return (child.position or 0) >= HANDLER_POSITION + handlers_base(parent)
        if stage == "parts":
            return True
        if stage == "on_join":
            spec = FanOutSpec.from_json(parent.spec["fan_out"])
            if not spec.has_succeeded(unit.counts(parent.id)):
                return False
        newest_one = newest_handler(unit, parent, stage)
        return newest_one is not None and newest_one.id == child.id

    def _reopen(
        self,
        unit: Unit,
        parent: Parent,
        stage: str,
        reason: str,
        spec: dict[str, Any] | None = None,
    ) -> Parent:
        """Make a parent wait again. Returns the parent as it is now."""
        unit.move(unit.moves.reopen, parent.id, detail=unit.reason(reason))
        whole = parent.spec if spec is None else spec
        # The error that its handler got is still the error of the parent.
        error = parent.error if stage == "on_error" else None
        begin_to_wait(unit, parent.id, stage, whole, timeout=_timeout_of(whole), error=error)
        return unit.lock(parent.id) or parent

    def _rows_again(self, unit: Unit, ids: Sequence[str], above: Parent | None) -> None:
        held_by = WINDOW if _has_window(above) else None
        moved = unit.move_all(
            unit.moves.retry,
            ids,
            delay=unit.grace_seconds,
            held_by=held_by,
            detail=unit.reason(BY_HAND),
        )
        if held_by is None:
            unit.after.ids.extend(one.id for one in moved if one.after is not None)
        elif above is not None:
            unit.after.joins.append(above.id)

    def _parts_again(self, unit: Unit, row: Parent, *, force: bool) -> None:
        if UNUSABLE in row.spec:
            unit.move(unit.moves.reopen, row.id, detail=unit.reason(BY_HAND))
            begin_again(unit, row, self._payloads)
            self._joins.decide(unit, unit.lock(row.id) or row)
            return
        parent = self._reopen(unit, row, "parts", BY_HAND)
        after = LEAST_ID
        while found := unit.retryable(row.id, after, force=force):
            after = str(found[-1]["id"])
            self._rows_again(unit, [str(one["id"]) for one in found if not one["is_parent"]], row)
            for one in found:
                if one["is_parent"]:
                    self._parent_again(unit, str(one["id"]), parent, force=force)
        self._joins.decide(unit, parent)

    def _parent_again(self, unit: Unit, task_id: str, above: Parent, *, force: bool) -> None:
        row = unit.lock(task_id)
        if row is not None:
            self.run_again(unit, row, above, force=force)

    def _steps_again(self, unit: Unit, row: Parent, *, force: bool) -> None:
        spec = SequenceSpec.from_json(row.spec["sequence"])
        newest = unit.newest_step(row.id, spec.base)
        if force:
            if newest is not None:
                spec = replace(spec, base=newest.position + 1)
            whole = {"sequence": spec.as_json()}
            parent = self._reopen(unit, row, first_stage(spec), BY_HAND, whole)
            if first_stage(spec) == "on_start":
                self._decisions.spawn_again(unit, parent, "on_start")
        elif newest is None:
            parent = self._reopen(unit, row, first_stage(spec), BY_HAND)
            if first_stage(spec) == "on_start":
                self._decisions.spawn_again(unit, parent, "on_start")
        else:
            parent = self._reopen(unit, row, "steps", BY_HAND)
            if newest.status is not TaskStatus.COMPLETED:
                self._parent_again(unit, newest.id, parent, force=False)
        self._joins.decide(unit, parent)

    def _handlers_again(self, unit: Unit, row: Parent) -> None:
        parent = self._reopen(unit, row, "handlers", BY_HAND)
        for one in handlers_of(unit, row.id, handlers_base(row)):
            if one.status in BAD:
                self._parent_again(unit, one.id, parent, force=False)
        self._joins.decide(unit, parent)


def _out_of_turn(child: Parent, parent: Parent) -> IllegalMove:
    allowed = in_order(MOVES["retry"].sources - {TaskStatus.COMPLETED})
    standing = f"{parent.status}, waiting for {parent.waits_for}"
    shown = standing if parent.waits_for else str(parent.status)
    verb = f"retry a sub-task of {parent.id} (which is {shown}):"
    return IllegalMove(verb, child.status, allowed, child.id)


def _stage_of(parent: Parent, child: Parent) -> str | None:
    """Return the stage in which a parent waits for this sub-task; None where it never does."""
    if child.role is TaskRole.PART:
        return "parts" if "fan_out" in parent.spec else None
    if child.role is TaskRole.STEP:
        return "steps"
    if "handlers" in parent.spec:
        return "handlers"
    return child.name if child.name in HANDLER_NAMES else None


def _has_window(parent: Parent | None) -> bool:
    if parent is None or "fan_out" not in parent.spec:
        return False
    return FanOutSpec.from_json(parent.spec["fan_out"]).max_concurrency is not None


def _timeout_of(spec: dict[str, Any]) -> float | None:
    whole = spec.get("fan_out") or spec.get("sequence") or {}
    timeout: float | None = whole.get("timeout")
    return timeout
