"""The steps and handlers of a sequence, as they are stored in the row of the parent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskdb.model.fan_out import FanOutSpec, HandlerSpec

HANDLER_STAGES = ("on_start", "on_success", "on_error")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """One step, with everything that is needed to create its task without the user's code."""

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
    """The steps and handlers of one parent.

    `base` is the position of the first step of this run; a forced retry starts at a higher base.
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
