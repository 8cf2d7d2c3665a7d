"""Drafts and specs of fan-outs and sequences, and the progress of a sequence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from taskdb.client.step_cache import SafeStepCache
from taskdb.client.submission.chosen_options import ChosenOptions
from taskdb.client.submission.drafting import Drafting
from taskdb.errors import DatabaseUnreachable, Fault, InvalidInput
from taskdb.model.bounds import check_texts, shown
from taskdb.model.entity import SubTaskResult, TaskEntity, TaskKind, TaskRole
from taskdb.model.fan_out import FanOut, FanOutSpec, HandlerSpec, seconds_of
from taskdb.model.key import unique_key_of
from taskdb.model.sequence import SequenceSpec, StepSpec
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Draft
from taskdb.types.registry import Registry
from taskdb.types.sequence import Sequence, Step
from taskdb.types.task_type import TaskType

_SUBJECT = "the submit request"
_DEEPEST = 20
"""The most nested sequences; a sequence that contains itself has no end."""


@dataclass(frozen=True, slots=True)
class SequenceProgress:
    """The progress of a sequence: `current` is the step that is next, runs, or failed."""

    task_id: str
    status: TaskStatus
    done: int
    total: int
    current: str | None
    steps: tuple[SubTaskResult, ...]


class Drafter:
    """Turns the options of a tree into drafts and specs.

    Raises InvalidInput with every fault, UnknownTaskType, SequenceNotFound.
    """

    def __init__(self, drafting: Drafting, registry: Registry) -> None:
        self._drafting = drafting
        self._registry = registry
        self.payload_refs: list[str] = []

    def fan_out(self, type_name: str, options: FanOut, owner: TaskType | None) -> FanOutSpec:
        """Return the spec of a fan-out; `on_join` defaults to that of the parent's type."""
        faults = options.faults()
        if faults:
            raise InvalidInput(_SUBJECT, faults)
        given = options.on_join if options.on_join is not None else owner and owner.on_join
        return options.spec(type_name, None if given is None else self._handler(given))

    def check_type(self, name: str) -> None:
        """Raise UnknownTaskType for an unknown type, InvalidInput for one that is not allowed."""
        self._drafting.check_type(name)

    def check_allowed(self, name: str) -> None:
        """Raise InvalidInput if this client may not submit this type or sequence."""
        self._drafting.check_allowed(name)

    def parts(
        self, type_name: str, items: Iterable[Any], options: ChosenOptions
    ) -> Iterator[Draft]:
        """Yield a draft for each item, and remember the payloads that were written."""
        for draft in self._drafting.parts(type_name, _several(items), options):
            if draft.input_ref is not None:
                self.payload_refs.append(draft.input_ref)
            yield draft

    def sequence(self, sequence: Sequence, timeout: Any = None, depth: int = 0) -> SequenceSpec:
        """Return the spec of a sequence and of the sequences inside it."""
        if depth > _DEEPEST:
            advice = f"{sequence.name!r} contains itself, or more than {_DEEPEST} sequences"
            raise InvalidInput(_SUBJECT, [Fault("steps", advice)])
        if timeout is not None and seconds_of(timeout) is None:
            raise InvalidInput(_SUBJECT, [Fault("timeout", f"{shown(timeout)} is not a duration")])
        return SequenceSpec(
            name=sequence.name,
            steps=tuple(self._step(step, depth) for step in sequence.steps),
            handlers={stage: self._handler(one) for stage, one in sequence.handlers.items()},
            timeout=None if timeout is None else seconds_of(timeout),
        )

    def parent(self, type_name: str, options: ChosenOptions, *, value: Any = None) -> Draft:
        """Return the draft of the parent."""
        draft = self._drafting.parent(type_name, options, value=value)
        if draft.input_ref is not None:
            self.payload_refs.append(draft.input_ref)
        return draft

    def sequence_parent(self, sequence: Sequence, payload: Any, options: ChosenOptions) -> Draft:
        """Return the draft of a sequence; the unique key comes from the payload as stored."""
        draft = self.parent(sequence.name, options, value=payload)
        if options.unique_key is not None or not sequence.unique:
            return draft
        return replace(draft, unique_key=unique_key_of({"payload": self._drafting.plain(payload)}))

    @contextmanager
    def keeping_payloads(self) -> Iterator[None]:
        """Remove the payloads after an error, unless the rows may have been written."""
        try:
            yield
        except DatabaseUnreachable:
            # The rows may exist, and only the reply was lost.
            raise
        except BaseException:
            self.discard_payloads()
            raise

    def discard_payloads(self) -> None:
        """Remove the payloads of drafts that were not inserted."""
        for reference in self.payload_refs:
            self._drafting.discard_reference(reference)

    def _step(self, step: Step, depth: int) -> StepSpec:
        check_texts(_SUBJECT, step=step.name)
        if isinstance(step.of, Sequence):
            place = self._drafting.queue_place(step.of.name, step.queue, step.priority)
            inner = self.sequence(step.of, depth=depth + 1)
            return StepSpec(
                name=step.name or step.of.name,
                type=place.type,
                queue=place.queue,
                priority=place.priority,
                sequence=inner,
            )
        place = self._drafting.place(step.of, queue=step.queue, priority=step.priority)
        spec = None
        if step.fan_out is not None:
            spec = replace(self.fan_out(place.type, step.fan_out, None), part_mutex=place.mutex)
        return StepSpec(
            name=step.name or place.type,
            type=place.type,
            queue=place.queue,
            priority=place.priority,
            mutex=place.mutex,
            fan_out=spec,
        )

    def _handler(self, given: Any) -> HandlerSpec:
        place = self._drafting.place(given)
        return HandlerSpec(place.type, place.queue, place.priority, place.mutex)


def step_result(step: TaskEntity, shelf: SafeStepCache) -> SubTaskResult:
    """Return the state of a step; a result outside its row is fetched once.

    The cache needs no scope check: the caller has read the row within its scope.
    """
    if step.status is not TaskStatus.COMPLETED or step.result_ref is None:
        return step.as_sub_task()
    is_known, result = shelf.find(step.id, step.attempt, step.result_ref)
    if not is_known:
        result = step.result
        shelf.keep(step.id, step.attempt, step.result_ref, result)
    return replace(step, result_ref=None, inline_result=result).as_sub_task()


def progress_of(
    parent: TaskEntity, steps: Iterable[TaskEntity], shelf: SafeStepCache
) -> SequenceProgress:
    """Build the progress of a sequence from its rows; raises InvalidInput for other tasks."""
    if parent.kind is not TaskKind.SEQUENCE or parent.spec is None:
        advice = f"task {parent.id} is a {parent.kind}, not a SEQUENCE"
        raise InvalidInput("the progress request", [Fault("", advice)])
    spec = SequenceSpec.from_json(parent.spec["sequence"])
    known = {
        (one.position or 0) - spec.base: one
        for one in steps
        if one.role is TaskRole.STEP and (one.position or 0) >= spec.base
    }
    shown = tuple(
        replace(step_result(known[index], shelf), position=index)
        if index in known
        else SubTaskResult(index, "", step.name, TaskStatus.CREATED)
        for index, step in enumerate(spec.steps)
    )
    done = sum(one.status is TaskStatus.COMPLETED for one in shown)
    current = next((one.name for one in shown if one.status is not TaskStatus.COMPLETED), None)
    return SequenceProgress(parent.id, parent.status, done, len(shown), current, shown)


def _several(items: Any) -> Iterable[Any]:
    if isinstance(items, Mapping | str | bytes) or not isinstance(items, Iterable):
        advice = f"{type(items).__name__} is one item: pass a list, or anything to iterate over"
        raise InvalidInput(_SUBJECT, [Fault("items", advice)])
    return items
