"""What a person does to tasks: cancel them, and run them again.

A parent is stopped and reopened with what is below it, a sub-task reopens what is above it, in one
transaction each.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from taskdb.errors import (
    IllegalMove,
    SequenceAlreadyCompleted,
    TaskIsAdopted,
    TaskIsPruned,
)
from taskdb.model.adopted import celery_id_of
from taskdb.model.entity import TaskEntity, TaskKind, TaskRole
from taskdb.model.fan_out import HANDLER_POSITION, WINDOW, FanOutSpec
from taskdb.model.principal.permission import ANYTHING, Permission
from taskdb.model.sequence import SequenceSpec
from taskdb.model.status import MOVES, RETRIED_IN_BULK, TaskStatus, check_move, in_order
from taskdb.store.contract import Publication, Scope
from taskdb.store.task.part import LEAST_ID, is_id, spelled_reason
from taskdb.store.task.permission import places_of
from taskdb.store.task.queries import BAD
from taskdb.store.tree.decision import HANDLER_NAMES, handlers_base, waiting_parents
from taskdb.store.tree.fan_out import Families
from taskdb.store.tree.growth import PRUNED, UNUSABLE, begin_again, begin_to_wait, first_stage
from taskdb.store.tree.join import parents_of_canceled
from taskdb.store.tree.unit import Parent, Unit

_AGAIN = "retried by hand"
_REOPENED = "a sub-task was retried by hand"
_CANCELED = "canceled by hand"
_REQUEST = "the retry request"


class Intervention(Families):
    """The verbs of a person; each keeps to the tenants of a scope.

    `by` is the actor, whom the history names. A retry by a client that may not run every queue,
    type and priority keeps to its permission `may_run`.
    """

    def cancel(self, task_id: str, scope: Scope, by: str | None = None) -> None:
        """Stop it: CANCELED at once while it waits; a running body is asked.

        A parent is asked, its open sub-tasks are canceled, and it ends when they have. Canceling
        what is canceled changes nothing. Raises TaskNotFound, and IllegalMove for a task that
        ended otherwise; TaskIsAdopted for one that is only watched.
        """
        found = self.get(task_id, scope)
        _refuse_adopted("cancel", found)
        if found.status is TaskStatus.CANCELED or self._cancel([task_id], by):
            return
        if self.get(task_id, scope).status is not TaskStatus.CANCELED:
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
        """Run it again with a whole budget; answers what to publish.

        `only` narrows the statuses from which it may.

        A parent goes on with its sub-tasks that ended badly, a sequence at its failed step; with
        `force` all of them run again. A sub-task reopens its FAILED or CANCELED ancestors.
        Raises TaskNotFound; IllegalMove for a task that has not ended and is not waiting, and for
        a sub-task of a parent that COMPLETED; SequenceAlreadyCompleted; TaskIsAdopted;
        TaskIsPruned; InvalidInput for what `may_run` does not allow.
        """
        found = self.get(task_id, scope)
        _refuse_adopted("retry", found)
        if may_run.is_limited:
            may_run.check(_REQUEST, places_of(self.database, found))
        if found.kind is TaskKind.SEQUENCE and found.status is TaskStatus.COMPLETED and not force:
            raise SequenceAlreadyCompleted(task_id)
        if found.spec is None and found.parent_id is None:
            moved, published = self._retry_alone([task_id], only, by)
            if not moved:
                self._refuse("retry", task_id, scope)
            return published
        return self._retry_in_tree(found, only, by, force=force)

    # --- cancel -------------------------------------------------------------------------------

    def _cancel(self, ids: Sequence[str], by: str | None) -> int:
        parameters = {"ids": listed(ids), "detail": spelled_reason(_CANCELED, by)}
        moved = self.database.move(self.moves.cancel, parameters)
        for parent_id in waiting_parents(moved):
            # Under its lock it sees that a cancel is wanted, and stops what is below it.
            self.join(parent_id)
        for parent_id in parents_of_canceled(moved):
            self.join(parent_id)
        return sum(one.after is not None for one in moved)

    # --- retry --------------------------------------------------------------------------------

    def _retry_alone(
        self, ids: Sequence[str], only: frozenset[TaskStatus], by: str | None
    ) -> tuple[int, list[Publication]]:
        """How many were moved, and what of them to publish: what a rule concerns is held."""
        parameters = {
            "ids": listed(ids),
            "detail": spelled_reason(_AGAIN, by),
            "delay": self.grace.total_seconds(),
            "held_by": None,
        }
        moves = self.moves
        statement = moves.retry_ended_badly if only <= RETRIED_IN_BULK else moves.retry
        moved = self.database.move(statement, parameters)
        again = [one.id for one in moved if one.after is not None]
        return len(again), self.publications(again)

    def _retry_in_tree(
        self, found: TaskEntity, only: frozenset[TaskStatus], by: str | None, *, force: bool
    ) -> list[Publication]:
        line = self._line(found)

        def work() -> tuple[Unit, list[str]]:
            with self._unit() as unit:
                unit.by = by
                locked = [unit.lock(one) for one in line]
                parents = [one for one in locked if one is not None]
                if len(parents) != len(line):
                    raise IllegalMove("retry", "pruned", (), found.id)
                if PRUNED in parents[0].spec:
                    raise TaskIsPruned("retry", found.id, parents[0].id, found.status)
                if parents[-1].status not in only:
                    raise IllegalMove("retry", parents[-1].status, in_order(only), found.id)
                self._reopen_above(unit, parents)
                above = parents[-2] if len(parents) > 1 else None
                self._run_again(unit, parents[-1], above, force=force)
            published, unit.after.ids = unit.after.ids, []
            return unit, published

        unit, ids = self.database.again(work)
        self.follow(unit.after)
        return self.publications(ids)

    def _line(self, found: TaskEntity) -> list[str]:
        """The ids from the root down to this task."""
        line = [found.id]
        above = found.parent_id
        while above is not None:
            line.insert(0, above)
            place = self._place(above)
            above = None if place is None or place["parent_id"] is None else str(place["parent_id"])
        return line

    def _reopen_above(self, unit: Unit, line: Sequence[Parent]) -> None:
        for parent, child in itertools.pairwise(line):
            if parent.status is TaskStatus.COMPLETED:
                raise _out_of_turn(child, parent)
            stage = _stage_of(parent, child)
            if not self._is_awaited(unit, parent, child, stage):
                raise _out_of_turn(child, parent)
            if parent.status.is_terminal:
                self._reopen(unit, parent, str(stage), _REOPENED)

    def _is_awaited(self, unit: Unit, parent: Parent, child: Parent, stage: str | None) -> bool:
        """Whether the parent, once it waits in this stage, waits for this very sub-task.

        Else it could end while the sub-task runs: what stands before the newest step, or beside
        the newest handler of a stage, decides nothing any more.
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
        newest_handler = self._newest_handler(unit, parent, stage)
        return newest_handler is not None and newest_handler.id == child.id

    def _reopen(
        self,
        unit: Unit,
        parent: Parent,
        stage: str,
        reason: str,
        spec: dict[str, Any] | None = None,
    ) -> Parent:
        """The parent waits again; answers it as it is now."""
        unit.move(unit.moves.reopen, parent.id, detail=unit.reason(reason))
        whole = parent.spec if spec is None else spec
        # What its handler was told of is still what went wrong.
        error = parent.error if stage == "on_error" else None
        begin_to_wait(unit, parent.id, stage, whole, timeout=_timeout_of(whole), error=error)
        return unit.lock(parent.id) or parent

    def _run_again(
        self, unit: Unit, row: Parent, above: Parent | None, *, force: bool = False
    ) -> None:
        """One task of a locked line, with what is below it."""
        allowed = MOVES["retry"].sources
        if row.role in {TaskRole.STEP, TaskRole.HANDLER} and not force:
            # What a later one has built upon is never computed again.
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
            # A window is for parts; nobody would let go a handler that it holds.
            self._rows_again(unit, [row.id], above if row.role is TaskRole.PART else None)

    def _rows_again(self, unit: Unit, ids: Sequence[str], above: Parent | None) -> None:
        held_by = WINDOW if _has_window(above) else None
        moved = unit.move_all(
            unit.moves.retry,
            ids,
            delay=unit.grace_seconds,
            held_by=held_by,
            detail=unit.reason(_AGAIN),
        )
        if held_by is None:
            unit.after.ids.extend(one.id for one in moved if one.after is not None)
        elif above is not None:
            unit.after.joins.append(above.id)

    def _parts_again(self, unit: Unit, row: Parent, *, force: bool) -> None:
        if UNUSABLE in row.spec:
            unit.move(unit.moves.reopen, row.id, detail=unit.reason(_AGAIN))
            begin_again(unit, row, self.payloads)
            self._decide_now(unit, unit.lock(row.id) or row)
            return
        parent = self._reopen(unit, row, "parts", _AGAIN)
        after = LEAST_ID
        while found := unit.retryable(row.id, after, force=force):
            after = str(found[-1]["id"])
            self._rows_again(unit, [str(one["id"]) for one in found if not one["is_parent"]], row)
            for one in found:
                if one["is_parent"]:
                    self._parent_again(unit, str(one["id"]), parent, force=force)
        self._decide_now(unit, parent)

    def _parent_again(self, unit: Unit, task_id: str, above: Parent, *, force: bool) -> None:
        row = unit.lock(task_id)
        if row is not None:
            self._run_again(unit, row, above, force=force)

    def _steps_again(self, unit: Unit, row: Parent, *, force: bool) -> None:
        spec = SequenceSpec.from_json(row.spec["sequence"])
        newest = unit.newest_step(row.id, spec.base)
        if force:
            if newest is not None:
                spec = replace(spec, base=newest.position + 1)
            whole = {"sequence": spec.as_json()}
            parent = self._reopen(unit, row, first_stage(spec), _AGAIN, whole)
            if first_stage(spec) == "on_start":
                self.spawn_again(unit, parent, "on_start")
        elif newest is None:
            parent = self._reopen(unit, row, first_stage(spec), _AGAIN)
            if first_stage(spec) == "on_start":
                self.spawn_again(unit, parent, "on_start")
        else:
            parent = self._reopen(unit, row, "steps", _AGAIN)
            if newest.status is not TaskStatus.COMPLETED:
                self._parent_again(unit, newest.id, parent, force=False)
        self._decide_now(unit, parent)

    def _handlers_again(self, unit: Unit, row: Parent) -> None:
        parent = self._reopen(unit, row, "handlers", _AGAIN)
        for one in self._handlers(unit, row.id, handlers_base(row)):
            if one.status in BAD:
                self._parent_again(unit, one.id, parent, force=False)
        self._decide_now(unit, parent)

    def _decide_now(self, unit: Unit, parent: Parent) -> None:
        """Nothing may be open below it: then it ends again, or goes on, at once."""
        if self.decide(unit, parent):
            self._join_above(unit, parent)

    def _refuse(self, verb: str, task_id: str, scope: Scope) -> None:
        status = self.get(task_id, scope).status
        check_move(verb, status, task_id)
        # The row moved between the two statements; what it was then did not allow the verb.
        raise IllegalMove(verb, status, in_order(MOVES[verb].sources), task_id)


def _refuse_adopted(verb: str, found: TaskEntity) -> None:
    if found.is_adopted:
        raise TaskIsAdopted(verb, found.id, found.type, found.status, celery_id_of(found))


def listed(ids: Sequence[str]) -> str:
    return json.dumps([task_id for task_id in ids if is_id(task_id)])


def _out_of_turn(child: Parent, parent: Parent) -> IllegalMove:
    allowed = in_order(MOVES["retry"].sources - {TaskStatus.COMPLETED})
    standing = f"{parent.status}, waiting for {parent.waits_for}"
    shown = standing if parent.waits_for else str(parent.status)
    verb = f"retry a sub-task of {parent.id} (which is {shown}):"
    return IllegalMove(verb, child.status, allowed, child.id)


def _stage_of(parent: Parent, child: Parent) -> str | None:
    """What the parent of this sub-task waits for, once it runs again; None where it never will."""
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
