"""The judgement of a cell: what was lost, which rows lie, and how many bodies ran twice.

Pure: it is given the rows and the journal, and can be shown that it finds each kind of fault.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.journal import Journal

from taskdb.model.status import RUNNING, TERMINAL, TaskStatus, allowed_pairs

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One task, and what is wrong with it."""

    task_id: str
    what: str


@dataclass(frozen=True)
class Evidence:
    """What a cell left."""

    tasks: Sequence[Row]
    events: Sequence[Row]
    """Of all tasks, in order."""
    slots: int
    journal: Journal
    may_crash: bool = True
    """A process was killed, so that a crash may be counted."""


@dataclass(frozen=True)
class Judgement:
    lost: list[Finding]
    lies: list[Finding]
    duplicates: int

    @property
    def is_good(self) -> bool:
        return not self.lost and not self.lies


def judge(evidence: Evidence) -> Judgement:
    """Hold the rows against the journal."""
    court = _Court(evidence)
    return Judgement(court.lost(), court.lies(), evidence.journal.duplicates)


class _Court:
    def __init__(self, evidence: Evidence) -> None:
        self._tasks = {str(row["id"]): row for row in evidence.tasks}
        self._journal = evidence.journal
        self._slots = evidence.slots
        self._may_crash = evidence.may_crash
        self._history: dict[str, list[Row]] = defaultdict(list)
        for event in evidence.events:
            self._history[str(event["task_id"])].append(event)
        self._sub_tasks: dict[str, list[Row]] = defaultdict(list)
        for row in evidence.tasks:
            if row["parent_id"] is not None:
                self._sub_tasks[str(row["parent_id"])].append(row)

    # --- lost ---------------------------------------------------------------------------------

    def lost(self) -> list[Finding]:
        """Committed submits without a row, or whose rows have not ended."""
        found = []
        for task_id, parts in self._journal.submitted.items():
            if task_id not in self._tasks:
                found.append(Finding(task_id, "its submit was committed, and there is no row"))
            elif len(self._sub_tasks[task_id]) < parts:
                have = len(self._sub_tasks[task_id])
                found.append(Finding(task_id, f"{have} of {parts} sub-tasks are there"))
        for task_id, row in self._tasks.items():
            if not _is_over(row):
                found.append(Finding(task_id, f"is still {row['status']}"))
        if self._fired < self._journal.schedules:
            found.append(Finding("-", "a schedule was due, and did not fire"))
        return found

    # --- lies ---------------------------------------------------------------------------------

    def lies(self) -> list[Finding]:
        found = []
        for task_id, row in self._tasks.items():
            said = [
                *self._about_submit(task_id),
                *self._about_status(task_id, row),
                *self._about_history(task_id, row),
                *self._about_outcomes(task_id),
                *self._about_tree(task_id, row),
            ]
            found += [Finding(task_id, what) for what in said]
        if self._slots:
            found.append(Finding("-", f"{self._slots} slots are taken by nobody"))
        if self._fired > 1:
            found.append(Finding("-", f"a schedule for one moment fired {self._fired} times"))
        return found

    @property
    def _fired(self) -> int:
        return sum(row["type"] == "chaos.fired" for row in self._tasks.values())

    def _about_submit(self, task_id: str) -> list[str]:
        is_undone = task_id in self._journal.rolled_back
        return ["it was submitted in a transaction that was rolled back"] if is_undone else []

    def _about_status(self, task_id: str, row: Row) -> list[str]:
        status = row["status"]
        if row.get("crashes") and not self._may_crash:
            return [f"{row['crashes']} crashes are counted, and its worker was told to stop"]
        if status in {"FAILED", "CANCELED", "HALTED"}:
            # No body of a cell gives up, and no one crashes three times.
            return [f"{status}, and nothing of it failed for good: {row['error']}"]
        if status != "COMPLETED" or row["kind"] != "TASK":
            return []
        attempt = row["attempt"]
        if not self._journal.ended[task_id, attempt]:
            return [f"COMPLETED by attempt {attempt}, whose body never returned"]
        said = (row["result"] or {}).get("attempt")
        return [] if said == attempt else [f"the result of attempt {said} is in attempt {attempt}"]

    def _about_history(self, task_id: str, row: Row) -> list[str]:
        found = []
        last: str | None = None
        for event in self._history[task_id]:
            before, after = event["from_status"], event["to_status"]
            if before != last:
                found.append(f"its history goes on from {before} where it stood at {last}")
            if before is not None and before != after and (before, after) not in _LEGAL:
                found.append(f"it moved from {before} to {after}")
            last = after
        if last != row["status"]:
            found.append(f"it is {row['status']}, and its history ends with {last}")
        return found

    def _about_outcomes(self, task_id: str) -> list[str]:
        """Of one attempt one outcome is accepted, and one claim; it is over once."""
        moves = [one for one in self._history[task_id] if one["from_status"] != one["to_status"]]
        claims = Counter(one["attempt"] for one in moves if one["to_status"] == "STARTED")
        outcomes = Counter(
            one["attempt"]
            for one in moves
            if one["from_status"] in RUNNING and one["to_status"] not in RUNNING
        )
        ends = sum(one["to_status"] in TERMINAL for one in moves)
        return [
            *(f"attempt {n} was claimed {times} times" for n, times in claims.items() if times > 1),
            *(f"attempt {n} has {times} outcomes" for n, times in outcomes.items() if times > 1),
            *([f"it ended {ends} times"] if ends > 1 else []),
        ]

    def _about_tree(self, task_id: str, row: Row) -> list[str]:
        if row["kind"] == "TASK":
            return []
        sub_tasks = self._sub_tasks[task_id]
        left = [one for one in sub_tasks if not _is_over(one)]
        if _is_over(row) and left:
            return [f"it is over, and {len(left)} of its sub-tasks are not"]
        if not _is_over(row) and not left:
            return ["all its sub-tasks are over, and it is not"]
        if row["status"] != "COMPLETED":
            return []
        return [*_about_positions(sub_tasks), *self._about_result(row, sub_tasks)]

    def _about_result(self, row: Row, sub_tasks: Sequence[Row]) -> list[str]:
        parts = [one for one in sub_tasks if one["role"] == "part"]
        steps = sorted(
            (one for one in sub_tasks if one["role"] == "step"), key=lambda one: one["position"]
        )
        handlers = [one for one in sub_tasks if one["role"] == "handler"]
        if steps:
            last = steps[-1]["result"]
            return [] if row["result"] == last else [f"{row['result']} of a last step {last}"]
        if handlers:
            answer = handlers[-1]["result"]
            counted = (answer or {}).get("value")
            right = [len(parts), len(parts), 0, 0]
            if counted != right or row["result"] != answer:
                return [f"its handler was told {counted} of {right}"]
            return []
        succeeded = (row["result"] or {}).get("succeeded")
        return [] if succeeded == len(parts) else [f"{succeeded} of {len(parts)} have succeeded"]


_LEGAL = {(str(before), str(after)) for before, after in allowed_pairs()}


def _about_positions(sub_tasks: Sequence[Row]) -> list[str]:
    taken = Counter((one["role"], one["position"]) for one in sub_tasks)
    return [f"{times} sub-tasks are {where}" for where, times in taken.items() if times > 1]


def _is_over(row: Row) -> bool:
    return TaskStatus(row["status"]) in TERMINAL
