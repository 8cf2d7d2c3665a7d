"""What follows when a sub-task has ended: the next step, the next held part, or the parent's end.

A parent waits in a *stage* (its `waits_for`): `parts` of a fan-out; `steps` of a sequence;
`on_start`, `on_join`, `on_success`, `on_error`, one handler; `handlers`, those beside a task
type's own. (`callback` is no such stage: who waits for the outside has no sub-tasks.) Whoever ends
a sub-task asks for a join, as often as it likes: under the parent's lock the rows alone decide, so
that a repeated join, and two at once, change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection
from uuid_utils.compat import uuid7

from taskdb.entity import TaskError, TaskRole
from taskdb.errors import PayloadMissing, PayloadTooLarge
from taskdb.fan_out import HANDLER_POSITION, Counts, FanOutSpec, HandlerSpec
from taskdb.sequence import HANDLER_STAGES, SequenceSpec
from taskdb.status import TaskStatus
from taskdb.store.contract import Report
from taskdb.store.dialect import Moved
from taskdb.store.encode import encode
from taskdb.store.growing import begin_to_wait, spawn_handler, spawn_step
from taskdb.store.part import LEAST_ID, is_id, spelled_reason
from taskdb.store.payload import Payload, Payloads
from taskdb.store.publishing import Publishing
from taskdb.store.queries import FEW
from taskdb.store.running import Running, reported
from taskdb.store.unit import Aftermath, Parent, SubTask, Unit, stored_error

HANDLER_NAMES = frozenset({"on_join", *HANDLER_STAGES})
"""Stages in which one handler is waited for; it bears the name of the stage."""
log = structlog.get_logger("taskdb.join")
_LAST_POSITION = 10 * HANDLER_POSITION
_NOTHING = Payload(None, None)


@dataclass(frozen=True, slots=True)
class PartsLeft:
    """How many parts of a fan-out are open (counted up to a few), and whether some are held."""

    open: int
    is_held: bool

    @property
    def are_few(self) -> bool:
        """Few enough that each one's end matters."""
        return self.open <= FEW


class Joining(Running, Publishing):
    """The verbs of whoever has ended a sub-task."""

    payloads: Payloads
    on_new: Callable[[Sequence[str], Sequence[str]], None]
    """Told of the ids of new rows, and of parents with new parts, to publish them soon."""

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
        found = self.database.query(self.database.queries.parts_left, place, writes=False)[0]
        left = PartsLeft(int(found["open"]), is_held=bool(found["is_held"]))
        if left.open and (left.is_held or (badly and found["is_hasty"])):
            self.join(parent_id)
        return left

    def settle(self, task_id: str) -> None:
        """Join the parent of a task that has just ended; nothing for one that goes on."""
        place = self._place(task_id)
        if place is None or place["parent_id"] is None:
            return
        if TaskStatus(place["status"]).is_terminal:
            self.join(str(place["parent_id"]))

    def complete_step(
        self, task_id: str, token: str, result: Payload, report: Report, parent_id: str
    ) -> TaskStatus | None:
        """The body of a step returned: its row and that of the next step in one transaction."""
        written = {"result": result.text, "result_ref": result.reference}

        def work() -> TaskStatus | None:
            with self._unit() as unit:
                parents = self._lock_line(unit, parent_id)
                parameters = {"token": token, **reported(report), **written}
                moved = unit.move(self.database.moves.complete, task_id, **parameters)
                status = self.status_after(self.database.moves.complete, moved, token)
                if status is TaskStatus.COMPLETED:
                    self._decide_line(unit, parents)
            self.follow(unit.after)
            return status

        return self.database.again(work) if is_id(task_id) else None

    def finish(
        self,
        task_id: str,
        token: str,
        result: Payload,
        report: Report,
        handlers: Sequence[HandlerSpec],
    ) -> TaskStatus | None:
        """The body returned, and the other handlers of its type follow: FINISHED until they end."""
        written = {
            "result": result.text,
            "result_ref": result.reference,
            "waits_for": "handlers",
            "timeout": None,
        }

        def work() -> TaskStatus | None:
            with self._unit() as unit:
                before = self._handlers(unit, task_id)
                parameters = {"token": token, **reported(report), **written}
                parameters["spec"] = handlers_spec(handlers, base=len(before))
                moved = unit.move(self.database.moves.finish, task_id, **parameters)
                status = self.status_after(self.database.moves.finish, moved, token)
                parent = unit.lock(task_id)
                if status is TaskStatus.FINISHED and parent is not None:
                    self._decide_line(unit, [parent])
            self.follow(unit.after)
            return status

        return self.database.again(work) if is_id(task_id) else None

    # --- what the loop asks for ---------------------------------------------------------------

    def neglected(self, limit: int, after: str = "") -> list[str]:
        """Parents that a join would change, behind this id: someone died before asking for it."""
        place = {"limit": limit, "after": after or LEAST_ID}
        found = self.database.query(self.database.queries.neglected, place, writes=False)
        return [str(row["id"]) for row in found]

    def stop_overdue(self, limit: int) -> list[str]:
        """Begin to stop parents whose time is up; answers which. Their sub-tasks are canceled."""
        found = self.database.query(self.database.queries.overdue, {"limit": limit}, writes=False)
        return [str(row["id"]) for row in found if self._doom(str(row["id"]))]

    def _doom(self, parent_id: str) -> bool:
        error = TaskError("TimedOut", "its time was up before all its sub-tasks had ended")

        def work() -> bool:
            with self._unit() as unit:
                parent = unit.lock(parent_id)
                if parent is None:
                    return False
                moved = unit.move(
                    self.database.moves.doom,
                    parent_id,
                    error=stored_error(error),
                    detail=spelled_reason(error.message),
                )
            return moved is not None and moved.after is not None

        is_doomed = self.database.again(work)
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
            waiting.extend(self._joined(parent_id) for parent_id in reversed(one.joins))

    def _joined(self, parent_id: str) -> Aftermath:
        def work() -> Aftermath:
            with self._unit() as unit:
                self._decide_line(unit, self._lock_line(unit, parent_id))
            return unit.after

        return self.database.again(work)

    @contextmanager
    def _unit(
        self, connection: Connection | None = None, *, may_idle: bool = False
    ) -> Iterator[Unit]:
        """A transaction of our own, or the caller's; `may_idle` where items are read in it."""
        if connection is not None:
            yield Unit(self.database, connection, self.grace)
            return
        with self.database.transaction(may_idle=may_idle) as own:
            yield Unit(self.database, own, self.grace)

    def _place(self, task_id: str) -> Any:
        if not is_id(task_id):
            return None
        found = self.database.query(self.database.queries.place, {"id": task_id}, writes=False)
        return found[0] if found else None

    def _lock_line(self, unit: Unit, parent_id: str) -> list[Parent]:
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

    def _decide_line(self, unit: Unit, parents: Sequence[Parent]) -> None:
        """Let the lowest decide, and each above it for as long as they end."""
        for parent in reversed(parents):
            if not self.decide(unit, parent):
                return
        if parents:
            self._join_above(unit, parents[0])

    def _join_above(self, unit: Unit, ended: Parent) -> None:
        if ended.parent_id is not None:
            unit.after.joins.append(ended.parent_id)

    def decide(self, unit: Unit, parent: Parent) -> bool:
        """Act on how the sub-tasks of a locked parent stand; answers whether it has ended."""
        if parent.waits_for in {None, "callback"}:
            return False
        if parent.waits_for == "parts":
            return self._decide_parts(unit, parent)
        if parent.waits_for == "steps":
            return self._decide_steps(unit, parent)
        if parent.waits_for == "handlers":
            return self._decide_handlers(unit, parent)
        return self._decide_handler(unit, parent)

    # --- fan-outs -----------------------------------------------------------------------------

    def _decide_parts(self, unit: Unit, parent: Parent) -> bool:
        spec = FanOutSpec.from_json(parent.spec["fan_out"])
        if self._slides(unit, parent, spec):
            return False
        counts = unit.counts(parent.id)
        if counts.open and self._must_stop(parent, spec, counts):
            self.stop_under(unit, parent.id, "stopped with its parent")
            counts = unit.counts(parent.id)
        return not counts.open and self._end_parts(unit, parent, spec, counts)

    def _end_parts(self, unit: Unit, parent: Parent, spec: FanOutSpec, counts: Counts) -> bool:
        """No part is open: the verdict, or the handler that follows a good one."""
        if parent.error is not None:
            return _fail(unit, parent, parent.error)
        has_succeeded = spec.has_succeeded(counts)
        is_left = counts.canceled or not has_succeeded or spec.on_join is not None
        if parent.is_cancel_wanted and is_left:
            return _cancel(unit, parent)
        if not has_succeeded:
            return _fail(unit, parent, _join_error(spec, counts))
        given = self._pack(counts.as_json())
        if spec.on_join is None:
            return _complete(unit, parent, given)
        _finish(unit, parent, "on_join", _NOTHING)
        self._spawn_one(unit, parent, "on_join", spec.on_join, given)
        return False

    def _must_stop(self, parent: Parent, spec: FanOutSpec, counts: Counts) -> bool:
        hopeless = spec.join == "fail_fast" and spec.is_hopeless(counts)
        return hopeless or parent.is_cancel_wanted or parent.error is not None

    def _slides(self, unit: Unit, parent: Parent, spec: FanOutSpec) -> bool:
        """Let held parts go as far as the window allows; whether nothing else is to be decided."""
        if spec.max_concurrency is None or parent.is_cancel_wanted or parent.error is not None:
            return False
        window = unit.window(parent.id)
        if not window.is_held:
            return False
        may_be_hopeless = window.is_bad and spec.join == "fail_fast"
        if may_be_hopeless and self._must_stop(parent, spec, unit.counts(parent.id)):
            return False
        room = spec.max_concurrency - window.busy
        if room > 0:
            unit.after.ids.extend(unit.release_held(parent.id, room))
        return True

    # --- sequences ----------------------------------------------------------------------------

    def _decide_steps(self, unit: Unit, parent: Parent) -> bool:
        spec = SequenceSpec.from_json(parent.spec["sequence"])
        newest = unit.newest_step(parent.id, spec.base)
        if newest is None:
            return self._next_step(unit, parent, spec, 0, self._payload_of_start(unit, parent))
        if not newest.status.is_terminal and (parent.is_cancel_wanted or parent.error):
            self.stop_under(unit, parent.id, "stopped with its sequence")
            newest = unit.newest_step(parent.id, spec.base) or newest
        if not newest.status.is_terminal:
            return False
        if newest.status is not TaskStatus.COMPLETED:
            return self._step_failed(unit, parent, spec, newest)
        index = newest.position - spec.base + 1
        given = _result_of(newest)
        if index < len(spec.steps):
            return self._next_step(unit, parent, spec, index, given)
        handler = spec.handlers.get("on_success")
        if handler is None or parent.is_cancel_wanted:
            return _complete(unit, parent, given)
        _finish(unit, parent, "on_success", given)
        self._spawn_one(unit, parent, "on_success", handler, given)
        return False

    def _next_step(
        self, unit: Unit, parent: Parent, spec: SequenceSpec, index: int, given: Payload
    ) -> bool:
        if parent.is_cancel_wanted:
            return _cancel(unit, parent)
        if parent.error is not None:
            return _fail(unit, parent, parent.error)
        step = spec.steps[index]
        child_id = spawn_step(unit, parent, step, spec.base + index, given, self.payloads)
        child = None if child_id is None else unit.lock(child_id)
        if child is not None and self.decide(unit, child):
            # An empty fan-out, say: over as soon as it began.
            return self._decide_steps(unit, parent)
        return False

    def _step_failed(self, unit: Unit, parent: Parent, spec: SequenceSpec, failed: SubTask) -> bool:
        if parent.is_cancel_wanted:
            return _cancel(unit, parent)
        if parent.error is not None:
            return _fail(unit, parent, parent.error)
        error = _error_of(failed, "step")
        handler = spec.handlers.get("on_error")
        if handler is None:
            return _fail(unit, parent, error)
        begin_to_wait(unit, parent.id, "on_error", parent.spec, error=error)
        told = self._told_of_error(parent, failed)
        self._spawn_one(unit, parent, "on_error", handler, told)
        return False

    def _told_of_error(self, parent: Parent, failed: SubTask) -> Payload:
        told = {"error": failed.error, "step": failed.name, "payload": None}
        try:
            told["payload"] = self.payloads.unpack(parent.input, parent.input_ref)
            return self.payloads.pack(told, f"{uuid7()}-input", "the input of on_error")
        except (PayloadMissing, PayloadTooLarge, OSError) as error:
            # The handler is told of the error without it, rather than never.
            log.warning("on_error.without_payload", task_id=parent.id, reason=str(error))
            return self._pack({**told, "payload": None})

    def _payload_of_start(self, unit: Unit, parent: Parent) -> Payload:
        started = self._newest_handler(unit, parent, "on_start")
        if started is not None and (started.result is not None or started.result_ref is not None):
            return _result_of(started)
        return _kept(parent.input, parent.input_ref)

    # --- handlers -----------------------------------------------------------------------------

    def _decide_handler(self, unit: Unit, parent: Parent) -> bool:
        stage = str(parent.waits_for)
        handler = self._newest_handler(unit, parent, stage)
        if handler is None:
            self.spawn_again(unit, parent, stage)
            return False
        if not handler.status.is_terminal and (parent.is_cancel_wanted or self._is_doomed(parent)):
            self.stop_under(unit, parent.id, "stopped with its parent")
            handler = self._newest_handler(unit, parent, stage) or handler
        if not handler.status.is_terminal:
            return False
        after = {
            "on_start": self._after_start,
            "on_success": self._after_success,
            "on_error": self._after_error,
            "on_join": self._after_join,
        }
        return after[stage](unit, parent, handler)

    def _is_doomed(self, parent: Parent) -> bool:
        return parent.waits_for == "on_start" and parent.error is not None

    def _after_start(self, unit: Unit, parent: Parent, handler: SubTask) -> bool:
        if handler.status is not TaskStatus.COMPLETED:
            spec = SequenceSpec.from_json(parent.spec["sequence"])
            return self._step_failed(unit, parent, spec, handler)
        begin_to_wait(unit, parent.id, "steps", parent.spec, error=parent.error)
        return self._decide_steps(unit, parent)

    def _after_success(self, unit: Unit, parent: Parent, _handler: SubTask) -> bool:
        # The steps' outcome stands, whatever became of who was told of it.
        return _complete(unit, parent, _kept(parent.result, parent.result_ref))

    def _after_join(self, unit: Unit, parent: Parent, handler: SubTask) -> bool:
        if handler.status is TaskStatus.COMPLETED:
            return _complete(unit, parent, _result_of(handler))
        if parent.is_cancel_wanted:
            return _cancel(unit, parent)
        return _fail(unit, parent, _error_of(handler, "handler"))

    def _after_error(self, unit: Unit, parent: Parent, handler: SubTask) -> bool:
        has_result = handler.result is not None or handler.result_ref is not None
        if handler.status is TaskStatus.COMPLETED and has_result:
            return _complete(unit, parent, _result_of(handler))
        if parent.is_cancel_wanted:
            return _cancel(unit, parent)
        return _fail(unit, parent, parent.error or _error_of(handler, "handler"))

    def spawn_again(self, unit: Unit, parent: Parent, stage: str) -> None:
        """Make the handler of this stage, the first one or another one behind it."""
        if "fan_out" in parent.spec:
            on_join = FanOutSpec.from_json(parent.spec["fan_out"]).on_join
            given = self._pack(unit.counts(parent.id).as_json())
        else:
            on_join = SequenceSpec.from_json(parent.spec["sequence"]).handlers.get(stage)
            given = _kept(parent.input, parent.input_ref)
        if on_join is not None:
            self._spawn_one(unit, parent, stage, on_join, given)

    def _decide_handlers(self, unit: Unit, parent: Parent) -> bool:
        wanted = [HandlerSpec.from_json(one) for one in parent.spec["handlers"]]
        base = handlers_base(parent)
        found = self._handlers(unit, parent.id, base)
        known = {one.position - HANDLER_POSITION - base for one in found}
        missing = [index for index in range(len(wanted)) if index not in known]
        if missing and parent.is_cancel_wanted:
            return _cancel(unit, parent)
        for index in missing:
            handler = wanted[index]
            given = _kept(parent.input, parent.input_ref)
            spawn_handler(
                unit,
                parent,
                handler.type,
                handler,
                index=base + index,
                given=given,
                payloads=self.payloads,
            )
        if parent.is_cancel_wanted and any(not one.status.is_terminal for one in found):
            self.stop_under(unit, parent.id, "stopped with its task")
            found = self._handlers(unit, parent.id, base)
        if missing or any(not one.status.is_terminal for one in found):
            return False
        bad = [one for one in found if one.status is not TaskStatus.COMPLETED]
        if not bad:
            return _complete(unit, parent, _kept(parent.result, parent.result_ref))
        if parent.is_cancel_wanted:
            return _cancel(unit, parent)
        return _fail(unit, parent, _error_of(bad[0], "handler"))

    def _spawn_one(
        self, unit: Unit, parent: Parent, stage: str, handler: HandlerSpec, given: Payload
    ) -> None:
        index = len(self._handlers(unit, parent.id))
        spawn_handler(
            unit, parent, stage, handler, index=index, given=given, payloads=self.payloads
        )

    def _newest_handler(self, unit: Unit, parent: Parent, stage: str) -> SubTask | None:
        found = [one for one in self._handlers(unit, parent.id) if one.name == stage]
        return found[-1] if found else None

    def _handlers(self, unit: Unit, parent_id: str, base: int = 0) -> list[SubTask]:
        return unit.handlers(parent_id, HANDLER_POSITION + base, _LAST_POSITION)

    # --- stopping -----------------------------------------------------------------------------

    def stop_under(self, unit: Unit, parent_id: str, reason: str) -> None:
        """Cancel every open sub-task below a locked parent; what runs is asked."""
        levels = [parent_id]
        for one in levels:
            while ids := unit.open_ids(one):
                moved = unit.move_all(
                    self.database.moves.cancel, ids, detail=spelled_reason(reason)
                )
                levels.extend(waiting_parents(moved))
        # The lowest first: each join may end the one above.
        unit.after.joins.extend(reversed(levels[1:]))

    def _pack(self, value: Any) -> Payload:
        return Payload(value, encode(value, "the input of a handler"))


def handlers_base(parent: Parent) -> int:
    """How many handlers of earlier runs of the body there are before those of this one."""
    base: int = parent.spec.get("base", 0)
    return base


def handlers_spec(handlers: Sequence[HandlerSpec], base: int) -> str:
    return encode({"handlers": [one.as_json() for one in handlers], "base": base}, "spec")


def waiting_parents(moved: Iterable[Moved]) -> list[str]:
    """Those of canceled tasks that wait for sub-tasks of their own."""
    return [
        one.id
        for one in moved
        if one.after is not None and one.before["waits_for"] not in {None, "callback"}
    ]


def _complete(unit: Unit, parent: Parent, result: Payload) -> bool:
    written = {"result": result.text, "result_ref": result.reference}
    return _moved(unit.move(unit.moves.join_complete, parent.id, **written))


def _finish(unit: Unit, parent: Parent, stage: str, result: Payload) -> None:
    unit.move(
        unit.moves.join_finish,
        parent.id,
        waits_for=stage,
        spec=encode(parent.spec, "spec"),
        timeout=None,
        result=result.text,
        result_ref=result.reference,
    )


def _fail(unit: Unit, parent: Parent, error: dict[str, Any]) -> bool:
    detail = encode({"error": error["type"], "message": error["message"][:500]}, "detail")
    written = {"error": encode(error, "error"), "detail": detail}
    return _moved(unit.move(unit.moves.join_fail, parent.id, **written))


def _cancel(unit: Unit, parent: Parent) -> bool:
    return _moved(unit.move(unit.moves.join_cancel, parent.id))


def _moved(moved: Moved | None) -> bool:
    return moved is not None and moved.after is not None


def _kept(value: Any, reference: str | None) -> Payload:
    return Payload(value, None if value is None else encode(value, "a result"), reference)


def _result_of(one: SubTask) -> Payload:
    return _kept(one.result, one.result_ref)


def _error_of(one: SubTask, what: str) -> dict[str, Any]:
    """The error of a parent whose sub-task ended badly."""
    if one.error is None:
        message = f"{what} {one.name!r} was canceled" if one.status is TaskStatus.CANCELED else ""
        return TaskError("SubTaskCanceled", message).as_json()
    said = f"{what} {one.name!r} failed: {one.error.get('message', '')}"
    return {**one.error, "message": said}


def _join_error(spec: FanOutSpec, counts: Counts) -> dict[str, Any]:
    tolerated = spec.allowed(counts.total)
    message = (
        f"{counts.failed} of {counts.total} sub-tasks failed and {counts.canceled} were canceled; "
        f"{tolerated} may ({spec.join})"
    )
    return TaskError("JoinFailed", message).as_json()


def leave_to_relay(_ids: Sequence[str], _families: Sequence[str]) -> None:
    """The default of `on_new`."""
