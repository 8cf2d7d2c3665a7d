"""The decisions of a parent about its sub-tasks, one for each stage in which a parent waits.

Every decision is made under the lock of the parent, from the rows alone. It may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from uuid_utils.compat import uuid7

from taskdb.errors import PayloadMissing, PayloadTooLarge
from taskdb.logger import get_logger
from taskdb.model.entity import TaskError
from taskdb.model.fan_out import HANDLER_POSITION, Counts, FanOutSpec, HandlerSpec
from taskdb.model.json_text import encode
from taskdb.model.sequence import HANDLER_STAGES, SequenceSpec
from taskdb.model.status import TaskStatus
from taskdb.store.engine.dialect import Moved
from taskdb.store.payload.payload import Payload, Payloads
from taskdb.store.task.detail import spelled_reason
from taskdb.store.task.parent import Parent
from taskdb.store.task.task_id import LEAST_ID
from taskdb.store.tree.growth import begin_to_wait, spawn_handler, spawn_step
from taskdb.store.tree.unit import SubTask, Unit

log = get_logger("taskdb.join")
HANDLER_NAMES = frozenset({"on_join", *HANDLER_STAGES})
"""The stages in which a parent waits for one handler, which has the name of the stage."""
_LAST_POSITION = 10 * HANDLER_POSITION
_NOTHING = Payload(None, None)


class Decisions:
    """The decisions of a parent. `Joins` locks the parent before and publishes afterwards."""

    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads

    def decide(self, unit: Unit, parent: Parent) -> bool:
        """Act on the states of the sub-tasks of a locked parent. Returns whether it has ended."""
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
        """End a parent without open parts, or create its handler. Returns whether it has ended."""
        if parent.error is not None:
            return _fail(unit, parent, parent.error)
        has_succeeded = spec.has_succeeded(counts)
        is_left = counts.canceled or not has_succeeded or spec.on_join is not None
        if parent.is_cancel_wanted and is_left:
            return _cancel(unit, parent)
        if not has_succeeded:
            return _fail(unit, parent, _join_error(spec, counts))
        given = _pack(counts.as_json())
        if spec.on_join is None:
            return _complete(unit, parent, given)
        _finish(unit, parent, "on_join", _NOTHING)
        self._spawn_one(unit, parent, "on_join", spec.on_join, given)
        return False

    def _must_stop(self, parent: Parent, spec: FanOutSpec, counts: Counts) -> bool:
        hopeless = spec.join == "fail_fast" and spec.is_hopeless(counts)
        return hopeless or parent.is_cancel_wanted or parent.error is not None

    def _slides(self, unit: Unit, parent: Parent, spec: FanOutSpec) -> bool:
        """Release held parts as the window allows. Returns whether nothing else is to decide."""
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
        child_id = spawn_step(unit, parent, step, spec.base + index, given, self._payloads)
        child = None if child_id is None else unit.lock(child_id)
        if child is not None and self.decide(unit, child):
            # For example an empty fan-out, which ends as soon as it begins.
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
        given = self._input_of_on_error(parent, failed)
        self._spawn_one(unit, parent, "on_error", handler, given)
        return False

    def _input_of_on_error(self, parent: Parent, failed: SubTask) -> Payload:
        given = {"error": failed.error, "step": failed.name, "payload": None}
        try:
            given["payload"] = self._payloads.unpack(parent.input, parent.input_ref)
            name = f"{uuid7()}-input"
            return self._payloads.pack(given, name, "the input of on_error", deepest=None)
        except (PayloadMissing, PayloadTooLarge, OSError) as error:
            # The handler gets the error without the payload, rather than not at all.
            log.warning("on_error.payload_lost", task_id=parent.id, reason=str(error))
            return _pack({**given, "payload": None})

    def _payload_of_start(self, unit: Unit, parent: Parent) -> Payload:
        started = newest_handler(unit, parent, "on_start")
        if started is not None and (started.result is not None or started.result_ref is not None):
            return _result_of(started)
        return _kept(parent.input, parent.input_ref)

    # --- handlers -----------------------------------------------------------------------------

    def _decide_handler(self, unit: Unit, parent: Parent) -> bool:
        stage = str(parent.waits_for)
        handler = newest_handler(unit, parent, stage)
        if handler is None:
            self.spawn_again(unit, parent, stage)
            return False
        if not handler.status.is_terminal and (parent.is_cancel_wanted or self._is_doomed(parent)):
            self.stop_under(unit, parent.id, "stopped with its parent")
            handler = newest_handler(unit, parent, stage) or handler
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
        # The outcome of the steps stands, also where the handler failed.
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
        """Create the handler of this stage, the first one or one behind earlier ones."""
        if "fan_out" in parent.spec:
            handler = FanOutSpec.from_json(parent.spec["fan_out"]).on_join
            given = _pack(unit.counts(parent.id).as_json())
        else:
            handler = SequenceSpec.from_json(parent.spec["sequence"]).handlers.get(stage)
            given = _kept(parent.input, parent.input_ref)
        if handler is not None:
            self._spawn_one(unit, parent, stage, handler, given)

    def _decide_handlers(self, unit: Unit, parent: Parent) -> bool:
        wanted = [HandlerSpec.from_json(one) for one in parent.spec["handlers"]]
        base = handlers_base(parent)
        found = handlers_of(unit, parent.id, base)
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
                payloads=self._payloads,
            )
        if parent.is_cancel_wanted and any(not one.status.is_terminal for one in found):
            self.stop_under(unit, parent.id, "stopped with its task")
            found = handlers_of(unit, parent.id, base)
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
        index = len(handlers_of(unit, parent.id))
        spawn_handler(
            unit, parent, stage, handler, index=index, given=given, payloads=self._payloads
        )

    # --- stopping -----------------------------------------------------------------------------

    def stop_under(self, unit: Unit, parent_id: str, reason: str) -> None:
        """Cancel every open sub-task below a locked parent; request it where a body runs."""
        levels = [parent_id]
        for one in levels:
            after = LEAST_ID
            while ids := unit.open_ids(one, after):
                after = ids[-1]
                moved = unit.move_all(unit.moves.cancel, ids, detail=spelled_reason(reason))
                levels.extend(waiting_parents(moved))
        # The lowest first, since each join may end the parent above.
        unit.after.joins.extend(reversed(levels[1:]))


def newest_handler(unit: Unit, parent: Parent, stage: str) -> SubTask | None:
    """Return the last handler of this stage; None where there is none."""
    found = [one for one in handlers_of(unit, parent.id) if one.name == stage]
    return found[-1] if found else None


def handlers_of(unit: Unit, parent_id: str, base: int = 0) -> list[SubTask]:
    """Return the handlers of a parent in order, without the first `base` ones."""
    return unit.handlers(parent_id, HANDLER_POSITION + base, _LAST_POSITION)


def handlers_base(parent: Parent) -> int:
    """Return the number of handlers from earlier runs of the body."""
    base: int = parent.spec.get("base", 0)
    return base


def handlers_spec(handlers: Sequence[HandlerSpec], base: int) -> str:
    return encode({"handlers": [one.as_json() for one in handlers], "base": base}, "spec")


def waiting_parents(moved: Iterable[Moved]) -> list[str]:
    """Return the ids of canceled tasks that wait for sub-tasks of their own."""
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
        spec=encode(parent.spec, "spec", deepest=None),
        timeout=None,
        result=result.text,
        result_ref=result.reference,
    )


def _fail(unit: Unit, parent: Parent, error: dict[str, Any]) -> bool:
    # `join` marks the failure as one of sub-tasks, not of the task's own body.
    short = {"error": error["type"], "message": error["message"][:500], "join": True}
    detail = encode(short, "detail")
    written = {"error": encode(error, "error", deepest=None), "detail": detail}
    return _moved(unit.move(unit.moves.join_fail, parent.id, **written))


def _cancel(unit: Unit, parent: Parent) -> bool:
    return _moved(unit.move(unit.moves.join_cancel, parent.id))


def _moved(moved: Moved | None) -> bool:
    return moved is not None and moved.after is not None


def _pack(value: Any) -> Payload:
    return Payload(value, encode(value, "the input of a handler", deepest=None))


def _kept(value: Any, reference: str | None) -> Payload:
    return Payload(
        value, None if value is None else encode(value, "a result", deepest=None), reference
    )


def _result_of(one: SubTask) -> Payload:
    return _kept(one.result, one.result_ref)


def _error_of(one: SubTask, what: str) -> dict[str, Any]:
    """Return the error of a parent whose sub-task ended badly."""
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
