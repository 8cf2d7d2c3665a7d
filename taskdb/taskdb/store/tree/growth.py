"""Create the tasks below a parent: parts of a fan-out, steps of a sequence, handlers of either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from uuid_utils.compat import uuid7

from taskdb.errors import NotEncodable, PayloadMissing, PayloadTooLarge
from taskdb.model.entity import TaskError, TaskKind, TaskRole
from taskdb.model.fan_out import HANDLER_POSITION, WINDOW, FanOutSpec, HandlerSpec
from taskdb.model.json_text import encode
from taskdb.model.key import mutex_key_of
from taskdb.model.sequence import SequenceSpec, StepSpec
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Draft
from taskdb.store.payload.payload import Payload, Payloads
from taskdb.store.task.parent import Parent
from taskdb.store.tree.unit import Unit

BATCH = 1_000
UNUSABLE = "unusable"
"""The key in the spec of a fan-out whose parts could not be created. A retry creates them."""

PRUNED = "pruned"
"""The key in the spec of a root whose sub-tasks were pruned: the tree never runs again."""


class NotAList(Exception):
    """Raised where a step is a fan-out and the previous step did not return a list."""


_UNUSABLE = (NotAList, PayloadMissing, PayloadTooLarge, NotEncodable)
"""The errors that an unusable result of a step raises."""


def as_parts(drafts: Iterable[Draft], parent_id: str, spec: FanOutSpec) -> Iterator[Draft]:
    """Yield drafts as parts of a parent, with positions, chunks, and the window that holds them."""
    chunk: str | None = None
    for position, draft in enumerate(drafts):
        if spec.chunk_size > 1 and position % spec.chunk_size == 0:
            chunk = str(uuid7())
        is_held = spec.max_concurrency is not None and position >= spec.max_concurrency
        yield replace(
            draft,
            role=TaskRole.PART,
            parent_id=parent_id,
            position=position,
            chunk=chunk,
            held_by=WINDOW if is_held else None,
        )


def insert_parts(unit: Unit, parts: Iterable[Draft]) -> int:
    """Insert parts in batches, so that memory is bounded. Returns how many."""
    number = 0
    remaining = iter(parts)
    while batch := list(islice(remaining, BATCH)):
        unit.insert(batch)
        number += len(batch)
    return number


def begin_to_wait(
    unit: Unit,
    parent_id: str,
    stage: str,
    spec: dict[str, Any],
    *,
    timeout: float | None = None,
    error: dict[str, Any] | None = None,
) -> None:
    """Make a parent wait in this stage. `timeout`: in seconds."""
    unit.move(
        unit.moves.wait,
        parent_id,
        waits_for=stage,
        spec=encode(spec, "spec", deepest=None),
        timeout=timeout,
        error=None if error is None else encode(error, "error", deepest=None),
        detail=encode({"waits_for": stage}, "detail"),
    )


def first_stage(spec: SequenceSpec) -> str:
    """Return the first stage of a sequence."""
    return "on_start" if "on_start" in spec.handlers else "steps"


def spawn_handler(
    unit: Unit,
    parent: Parent,
    name: str,
    handler: HandlerSpec,
    *,
    index: int,
    given: Payload,
    payloads: Payloads,
) -> None:
    """Create the task of a handler. It is published after the commit."""
    value = _value(given, payloads) if handler.mutex else None
    draft = replace(
        _child(parent, handler.type, given),
        role=TaskRole.HANDLER,
        name=name,
        queue=handler.queue,
        priority=handler.priority,
        mutex_key=mutex_key_of(handler.type, handler.mutex, value),
        position=HANDLER_POSITION + index,
    )
    unit.create([draft])
    unit.after.ids.append(draft.id)


def spawn_step(
    unit: Unit, parent: Parent, step: StepSpec, position: int, given: Payload, payloads: Payloads
) -> str | None:
    """Create the task of a step. Returns its id if it is a parent itself, else None."""
    draft = replace(
        _child(parent, step.type, given),
        role=TaskRole.STEP,
        name=step.name,
        queue=step.queue,
        priority=step.priority,
        position=position,
    )
    if step.sequence is not None:
        spec = {"sequence": step.sequence.as_json()}
        unit.create([replace(draft, kind=TaskKind.SEQUENCE, spec=spec)])
        stage = first_stage(step.sequence)
        begin_to_wait(unit, draft.id, stage, spec, timeout=step.sequence.timeout)
        return draft.id
    if step.fan_out is not None:
        _spawn_fan_out(unit, draft, step.fan_out, given, payloads)
        return draft.id
    value = _value(given, payloads) if step.mutex else None
    unit.create([replace(draft, mutex_key=mutex_key_of(step.type, step.mutex, value))])
    unit.after.ids.append(draft.id)
    return None


def _value(given: Payload, payloads: Payloads) -> Any:
    """Return the input from which a mutex key is made; None where it cannot be read."""
    try:
        return payloads.unpack(given.value, given.reference)
    except _UNUSABLE:
        return None


def _spawn_fan_out(
    unit: Unit, draft: Draft, fan_out: FanOutSpec, given: Payload, payloads: Payloads
) -> None:
    spec = {"fan_out": fan_out.as_json()}
    unit.create([replace(draft, kind=TaskKind.FAN_OUT, spec=spec)])
    _begin_with_items(unit, draft, draft.id, fan_out, given, payloads)


def begin_again(unit: Unit, parent: Parent, payloads: Payloads) -> None:
    """Create the parts of a CREATED fan-out whose parts could not be created before."""
    given = Payload(parent.input, None, parent.input_ref)
    fan_out = FanOutSpec.from_json(parent.spec["fan_out"])
    like = _child(parent, parent.type, given)
    _begin_with_items(unit, like, parent.id, fan_out, given, payloads)


def _begin_with_items(
    unit: Unit,
    like: Draft,
    parent_id: str,
    fan_out: FanOutSpec,
    given: Payload,
    payloads: Payloads,
) -> None:
    spec = {"fan_out": fan_out.as_json()}
    try:
        with unit.savepoint():
            items = payloads.unpack(given.value, given.reference)
            _insert_items(unit, like, parent_id, fan_out, items, payloads)
    except _UNUSABLE as wrong:
        # The outcome of the previous step stands. The error is in the row when this fan-out is
        # joined, and makes it fail.
        error = TaskError(type(wrong).__name__, str(wrong)).as_json()
        begin_to_wait(unit, parent_id, "parts", {**spec, UNUSABLE: True}, error=error)
        return
    begin_to_wait(unit, parent_id, "parts", spec, timeout=fan_out.timeout)
    unit.after.families.append(parent_id)


def _insert_items(
    unit: Unit,
    like: Draft,
    parent_id: str,
    fan_out: FanOutSpec,
    items: Any,
    payloads: Payloads,
) -> None:
    if not isinstance(items, list):
        message = f"a fan-out needs a list, and the step before returned {type(items).__name__}"
        raise NotAList(message)
    drafts = (
        _with_payload(
            replace(
                like,
                id=str(uuid7()),
                name=fan_out.part_type,
                type=fan_out.part_type,
                mutex_key=mutex_key_of(fan_out.part_type, fan_out.part_mutex, item),
            ),
            payloads,
            item,
        )
        for item in items
    )
    insert_parts(unit, as_parts(drafts, parent_id, fan_out))


def _with_payload(draft: Draft, payloads: Payloads, value: Any) -> Draft:
    name, subject = f"{draft.id}-input", f"the input of {draft.type}"
    payload = payloads.pack(value, name, subject, deepest=None)
    return replace(draft, input=payload.value, input_text=payload.text, input_ref=payload.reference)


def _child(parent: Parent, type_name: str, given: Payload) -> Draft:
    return Draft(
        id=str(uuid7()),
        tenant=parent.tenant,
        type=type_name,
        name=type_name,
        status=TaskStatus.CREATED,
        queue=parent.queue,
        priority=parent.priority,
        input=given.value,
        input_text=given.text,
        input_ref=given.reference,
        parent_id=parent.id,
        request_id=parent.request_id,
        created_by=parent.created_by,
        created_ip=parent.created_ip,
        trace=parent.trace,
    )
