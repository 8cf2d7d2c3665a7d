"""A sequence: named steps that run one after another; what one returns is what the next gets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import NAME_BYTES, shown, wrong_text
from taskdb.model.fan_out import FanOut
from taskdb.model.sequence import HANDLER_STAGES
from taskdb.types.task_type import Registry, default_registry


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a task type; or a fan-out of it over the list that the step before returned.

    `of` is the name of a task type, its function, or another `Sequence`. `name` is what progress
    shows, by default that of the type.
    """

    of: Any
    name: str | None = None
    fan_out: FanOut | None = None
    queue: str | None = None
    priority: int | None = None


class Sequence:
    """Steps under a name. Made at import, it registers itself, as `@task` does.

    `on_start` runs first, with the payload; what it returns (unless None) is what the first step
    gets. `on_success` runs last, with the result. `on_error` runs when a step has FAILED, with
    `{"error", "step", "payload"}`; what it returns (unless None) becomes the result, and the
    sequence is COMPLETED after all. With `unique`, the same payload is the same task.
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
            advice = reason or "give text without '#'"
            message = f"{shown(name)} cannot name a sequence: {advice}"
            raise InvalidInput("the sequence", [Fault("name", message)])
        self.name = name
        self.steps = tuple(step if isinstance(step, Step) else Step(step) for step in steps)
        if not self.steps:
            message = f"the sequence {name!r} has no steps: give at least one"
            raise ValueError(message)
        self.handlers = {
            stage: handler
            for stage, handler in zip(HANDLER_STAGES, (on_start, on_success, on_error), strict=True)
            if handler is not None
        }
        self.unique = unique
        (default_registry if registry is None else registry).add_sequence(self)

    def __repr__(self) -> str:
        return f"Sequence({self.name!r}, {len(self.steps)} steps)"
