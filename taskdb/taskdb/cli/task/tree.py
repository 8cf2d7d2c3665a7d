"""A parent and its sub-tasks as data, of a bounded size.

One query counts the parts of a fan-out. Only its first bad parts, and its first parts that are
parents themselves, are read. `NODE_LIMIT` bounds the whole tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from taskdb.client.taskdb import TaskDB
from taskdb.errors import TaskNotFound
from taskdb.model.entity import TaskEntity, TaskKind, TaskRole
from taskdb.model.fan_out import Counts
from taskdb.model.sequence import SequenceSpec
from taskdb.model.status import TaskStatus

_COUNTED = ("total", "done", "succeeded", "failed", "canceled")
NODE_LIMIT = 100
"""The most sub-tasks of one tree."""
PART_LIMIT = 5
"""The most bad parts of a fan-out that are named, and the most nested ones."""
HANDLER_LIMIT = 20

BAD = (TaskStatus.FAILED, TaskStatus.HALTED, TaskStatus.ERRORED)
_RUNNING = (TaskStatus.STARTED, TaskStatus.PROCESSING, TaskStatus.FINISHED)
_SHOWN = ("id", "code", "type", "name", "kind", "role", "position", "status", "waits_for")
_OPEN_PARENTS = (TaskStatus.PROCESSING, TaskStatus.FINISHED)


@dataclass(frozen=True, slots=True)
class Branch:
    """One task of a tree.

    `counts` are those of its parts, if it has any. `steps`, `handlers` and `parts` are below it;
    of the parts only some. `coming` names the steps that have no row yet.
    """

    task: TaskEntity
    counts: Counts | None = None
    steps: tuple[Branch, ...] = ()
    coming: tuple[str, ...] = ()
    handlers: tuple[Branch, ...] = ()
    parts: tuple[Branch, ...] = ()

    @property
    def is_leaf(self) -> bool:
        """Whether the task has no sub-tasks, and will have none."""
        return self.counts is None and not (self.steps or self.coming or self.handlers)


def is_parent(task: TaskEntity) -> bool:
    """Whether it has sub-tasks, or will have."""
    return task.kind is not TaskKind.TASK or task.spec is not None


def read_tree(taskdb: TaskDB, task: TaskEntity) -> Branch:
    """Return a task with its sub-tasks, as the rows are now."""
    return _Reader(taskdb).branch(task)


def parent_of(taskdb: TaskDB, task: TaskEntity) -> TaskEntity | None:
    """The parent of a sub-task; None without one, or where the client may not see it."""
    if task.parent_id is None:
        return None
    try:
        return taskdb.get_task(task.parent_id)
    except TaskNotFound:
        return None


def running_of(counts: Counts) -> int:
    """Parts that have begun and are not over."""
    return sum(counts.by_status.get(status, 0) for status in _RUNNING)


def waiting_of(counts: Counts) -> int:
    """Parts that may begin, or will once more, and are not held."""
    return counts.open - running_of(counts) - counts.held - halted_of(counts)


def halted_of(counts: Counts) -> int:
    """Parts that wait for a person."""
    return counts.by_status.get(TaskStatus.HALTED, 0)


def seconds_of(task: TaskEntity) -> float | None:
    """Return the time since the start, until the end if there is one; None before the start."""
    if task.started_at is None and not is_parent(task):
        return None
    began = task.started_at or task.created_at
    return max(((task.ended_at or datetime.now(UTC)) - began).total_seconds(), 0.0)


def tree_json(branch: Branch) -> dict[str, Any]:
    """A tree as data; durations in seconds."""
    task = branch.task
    document: dict[str, Any] = {
        **{name: getattr(task, name) for name in _SHOWN},
        "seconds": seconds_of(task),
        "error": task.error and {"type": task.error.type, "message": task.error.message},
    }
    if branch.counts is not None:
        document["counts"] = counts_json(branch.counts)
        document["shown_parts"] = [tree_json(one) for one in branch.parts]
    if branch.steps or branch.coming:
        document["steps"] = [tree_json(one) for one in branch.steps]
        document["coming"] = list(branch.coming)
    if branch.handlers:
        document["handlers"] = [tree_json(one) for one in branch.handlers]
    return document


def counts_json(counts: Counts) -> dict[str, int]:
    """Return the number of parts by state; those from `running` on are open."""
    return {
        **{name: getattr(counts, name) for name in _COUNTED},
        "running": running_of(counts),
        "waiting": waiting_of(counts),
        "held": counts.held,
        "halted": halted_of(counts),
    }


class _Reader:
    """Reads one tree, up to NODE_LIMIT sub-tasks."""

    def __init__(self, taskdb: TaskDB) -> None:
        self._taskdb = taskdb
        self._left = NODE_LIMIT

    def branch(self, task: TaskEntity) -> Branch:
        if not is_parent(task):
            return Branch(task)
        spec = task.spec or {}
        handlers = self._taskdb.trees.sub_tasks(task.id, role=TaskRole.HANDLER, limit=HANDLER_LIMIT)
        branch = Branch(task, handlers=self._branches(handlers))
        if "fan_out" in spec:
            counts = self._taskdb.trees.counts(task.id)
            return replace(branch, counts=counts, parts=self._branches(self._parts(task.id)))
        if "sequence" in spec:
            known = SequenceSpec.from_json(spec["sequence"])
            found = self._taskdb.trees.sub_tasks(
                task.id, role=TaskRole.STEP, after=known.base - 1, limit=NODE_LIMIT
            )
            coming = tuple(step.name for step in known.steps[len(found) :])
            return replace(branch, steps=self._branches(found), coming=coming)
        return branch

    def _branches(self, tasks: Iterable[TaskEntity]) -> tuple[Branch, ...]:
        return tuple(self._each(tasks))

    def _each(self, tasks: Iterable[TaskEntity]) -> Iterator[Branch]:
        for task in tasks:
            if self._left <= 0:
                return
            self._left -= 1
            yield self.branch(task)

    def _parts(self, parent_id: str) -> list[TaskEntity]:
        """Parts to be named: bad ones, and nested ones, open ones first."""

        def first(**criteria: Any) -> Iterator[TaskEntity]:
            yield from self._taskdb.list_tasks(
                parent_id=parent_id,
                role=TaskRole.PART,
                limit=PART_LIMIT,
                order="oldest",
                **criteria,
            )

        def nested() -> Iterator[TaskEntity]:
            yield from first(kind=TaskKind.FAN_OUT, status=_OPEN_PARENTS)
            yield from first(kind=TaskKind.FAN_OUT)

        bad = {one.id: one for one in first(status=BAD)}
        others = {one.id: one for one in nested() if one.id not in bad}
        chosen = [*bad.values(), *islice(others.values(), PART_LIMIT)]
        return sorted(chosen, key=lambda one: one.position or 0)
