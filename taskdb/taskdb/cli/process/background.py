"""A worker and a beat in the background of this process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from taskdb.cli.process.child import Child

STOP_SECONDS = 20.0
COMMANDS = {"worker": ["worker", "-c", "3"], "beat": ["beat"]}

_LOOK_SECONDS = 0.05


class WorkerAndBeat:
    """A context that starts a worker and a beat, and always ends them; keeps their output."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._children: list[Child] = []
        self.lines: list[str] = []

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children]

    @property
    def has_lost_one(self) -> bool:
        """One of them ended without a request."""
        return any(child.exit_code is not None for child in self._children)

    def stop(self) -> list[str]:
        """End both in order, or after a while by force. Returns what was not in order."""
        early = [
            f"the {child.name} ended by itself with exit code {child.exit_code}"
            for child in self._children
            if child.exit_code is not None
        ]
        for child in self._children:
            child.terminate()
        return [*early, *self._await_end()]

    def __enter__(self) -> Self:
        for name, words in COMMANDS.items():
            child = Child(
                name,
                words,
                hear=lambda name, line: self.lines.append(f"{name:<6} | {line}"),
                ended=lambda _: None,
                environment=self._environment,
            )
            self._children.append(child)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.kill()
        self._await_end()

    def _await_end(self) -> list[str]:
        deadline = time.monotonic() + STOP_SECONDS
        while any(child.is_left for child in self._children) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        late = [child for child in self._children if child.is_left]
        for child in late:
            child.kill()
        return [f"the {child.name} (pid {child.pid}) had to be killed" for child in late]
