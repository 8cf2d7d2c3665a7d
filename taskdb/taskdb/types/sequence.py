"""A sequence: named steps, each of which gets the result of the one before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import NAME_BYTES, shown, wrong_text
from taskdb.model.fan_out import FanOut
from taskdb.model.sequence import HANDLER_STAGES
from taskdb.types.registry import Registry, default_registry


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a task type, or a fan-out of it over the list that the step before returned.

    `of` is the name of a task type, its function, or another `Sequence`. Progress shows `name`, by
    default the name of the type.
    """

    of: Any
    name: str | None = None
    fan_out: FanOut | None = None
    queue: str | None = None
    priority: int | None = None


class Sequence:
    """Steps under a name. A sequence registers itself when it is created, as `@task` does.

    `on_start` runs first, with the payload; its result, unless None, is the input of the first
    step. `on_success` runs last, with the result. `on_error` runs when a step has FAILED, with
    `{"error", "step", "payload"}`; if it returns a value other than None, the value becomes the
    result and the sequence is COMPLETED. With `unique`, equal payloads are one task.
    """

    def __init__(
        self,
        name: str,
        steps: Iterable[Step | Any],
        *,
        on_start: Any = None,
        on_success: Any = None,
        on_error: Any = None,
        unique: bool = False,
        registry: Registry | None = None,
    ) -> None:
        reason = wrong_text(name, NAME_BYTES)
        if reason is not None or not name.strip() or "#" in name:
            advice = reason or "pass text without '#'"
            message = f"{shown(name)} cannot name a sequence: {advice}"
            raise InvalidInput("the sequence", [Fault("name", message)])
        self.name = name
        self.steps = tuple(step if isinstance(step, Step) else Step(step) for step in steps)
        if not self.steps:
            raise ValueError(f"the sequence {name!r} has no steps: pass at least one")
        self.handlers = {
            stage: handler
            for stage, handler in zip(HANDLER_STAGES, (on_start, on_success, on_error), strict=True)
            if handler is not None
        }
        self.unique = unique
        (default_registry if registry is None else registry).add_sequence(self)

    def __repr__(self) -> str:
        return f"Sequence({self.name!r}, {len(self.steps)} steps)"
