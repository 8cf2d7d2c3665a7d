"""A sequence: named steps that run one after another; what one returns is what the next gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from taskdb.bounds import NAME_BYTES, shown, wrong_text
from taskdb.errors import Fault, InvalidInput
from taskdb.fan_out import FanOut, FanOutSpec, HandlerSpec
from taskdb.task_type import Registry, default_registry

HANDLER_STAGES = ("on_start", "on_success", "on_error")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """One step, as the parent's row keeps it: enough to make its task without its code."""

    name: str
    type: str
    queue: str
    priority: int
    mutex: tuple[str, ...] = ()
    fan_out: FanOutSpec | None = None
    sequence: SequenceSpec | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "queue": self.queue,
            "priority": self.priority,
            "mutex": list(self.mutex),
            "fan_out": self.fan_out.as_json() if self.fan_out else None,
            "sequence": self.sequence.as_json() if self.sequence else None,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> StepSpec:
        fan_out, sequence = stored.get("fan_out"), stored.get("sequence")
        return cls(
            name=stored["name"],
            type=stored["type"],
            queue=stored["queue"],
            priority=stored["priority"],
            mutex=tuple(stored.get("mutex", ())),
            fan_out=FanOutSpec.from_json(fan_out) if fan_out else None,
            sequence=SequenceSpec.from_json(sequence) if sequence else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceSpec:
    """The steps and handlers, as the parent's row keeps them.

    `base` is the position of the first step of this run; `force` starts another one behind it.
    """

    name: str
    steps: tuple[StepSpec, ...]
    handlers: Mapping[str, HandlerSpec]
    timeout: float | None = None
    base: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "steps": [step.as_json() for step in self.steps],
            "handlers": {stage: one.as_json() for stage, one in self.handlers.items()},
            "timeout": self.timeout,
            "base": self.base,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SequenceSpec:
        return cls(
            name=stored["name"],
            steps=tuple(StepSpec.from_json(step) for step in stored["steps"]),
            handlers={
                stage: HandlerSpec.from_json(one) for stage, one in stored["handlers"].items()
            },
            timeout=stored["timeout"],
            base=stored["base"],
        )
