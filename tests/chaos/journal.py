"""What really happened, as those who did it noted it: a file of lines that nobody changes.

Beside the store on purpose, since it is what the rows are judged by.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = "CHAOS_FOLDER"


def folder() -> Path:
    """The folder of the cell that this process belongs to."""
    return Path(os.environ[FOLDER])


def note(*words: object) -> None:
    """Leave a line; a write that short is atomic, and lives on when its process is killed."""
    file = os.open(folder() / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{' '.join(map(str, words))}\n".encode())
    finally:
        os.close(file)


@dataclass
class Journal:
    """The lines of a cell, read."""

    submitted: dict[str, int] = field(default_factory=dict)
    """Ids whose submit committed, with the number of their first sub-tasks."""
    schedules: int = 0
    """How many schedules were made, each for one moment."""
    rolled_back: set[str] = field(default_factory=set)
    begun: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often a body began, by task and attempt."""
    ended: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often it returned."""
    raised: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often it raised, as it was told to."""
    processes: dict[str, int] = field(default_factory=dict)
    """Which process last began a body of a type."""

    @property
    def duplicates(self) -> int:
        """Bodies that ran beside, or after, those that one would have run without a fault."""
        runs: Counter[str] = Counter()
        wanted: Counter[str] = Counter()
        for (task_id, _), times in self.begun.items():
            runs[task_id] += times
        for task_id, _ in self.raised:
            wanted[task_id] = 1
        return sum(max(0, times - 1 - wanted[task_id]) for task_id, times in runs.items())

    @classmethod
    def read(cls, path: Path) -> Journal:
        found = cls()
        text = path.read_text() if path.exists() else ""
        for line in text.splitlines():
            found.take(line)
        return found

    def take(self, line: str) -> None:
        """Add one line."""
        what, task_id, *rest = line.split()
        match what:
            case "submitted":
                self.submitted[task_id] = int(rest[0])
            case "scheduled":
                self.schedules += 1
            case "rolled-back":
                self.rolled_back.add(task_id)
            case "begin":
                self.begun[task_id, int(rest[0])] += 1
                self.processes[rest[1]] = int(rest[2])
            case "end":
                self.ended[task_id, int(rest[0])] += 1
            case "raise":
                self.raised[task_id, int(rest[0])] += 1
