"""Fan-outs and sequences: the sub-tasks of a task, their counts and their results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskdb.client.caller.caller import Caller
from taskdb.client.step_cache import SafeStepCache, StepCache
from taskdb.client.submission.tree_draft import SequenceProgress, progress_of
from taskdb.client.submission.tree_submissions import TreeSubmissions
from taskdb.client.tasks import Tasks
from taskdb.errors import Fault, InvalidInput
from taskdb.model.bounds import LARGEST
from taskdb.model.entity import SubTaskResult, TaskEntity, TaskRole
from taskdb.model.fan_out import Counts, FanOut
from taskdb.model.status import TaskStatus
from taskdb.store.store import Store
from taskdb.types.task_type import TaskType

RESULT_LIMIT = 10_000
"""The most results of one page."""


class Trees:
    """`taskdb.trees`: the sub-tasks of fan-outs and sequences."""

    def __init__(
        self, store: Store, caller: Caller, tasks: Tasks, submissions: TreeSubmissions
    ) -> None:
        self._store = store
        self._scope = caller.scope
        self._tasks = tasks
        self._submissions = submissions

    def counts(self, reference: str) -> Counts:
        """Count the parts of a fan-out by status, with one indexed query; raises TaskNotFound."""
        return self._store.fan_outs.counts(self._tasks.id_of(reference), self._scope)

    def family(self, reference: str, *, after: int = -1, limit: int = 1_000) -> list[TaskEntity]:
        """Return the sub-tasks of one parent in order of their positions, a page at a time.

        `reference` is the parent, or one of its parts, steps or handlers that has no sub-tasks
        of its own. Raises TaskNotFound, InvalidInput.
        """
        found = self._tasks.get_task(reference)
        is_leaf = found.spec is None and found.parent_id is not None
        parent_id = found.parent_id if is_leaf else found.id
        return self.sub_tasks(str(parent_id), after=after, limit=limit)

    def results(
        self,
        reference: str,
        *,
        after: int = -1,
        limit: int = 1_000,
        role: TaskRole | str | None = TaskRole.PART,
    ) -> list[SubTaskResult]:
        """Return results of sub-tasks in the order of their items, a page at a time.

        For the next page, pass the position of the last result as `after`; an empty one is the end.
        `role` chooses parts, steps or handlers, None all. Raises TaskNotFound, InvalidInput.
        """
        found = self.sub_tasks(reference, after=after, limit=limit, role=role)
        return [one.as_sub_task() for one in found]

    def sub_tasks(
        self,
        reference: str,
        *,
        after: int = -1,
        limit: int = 1_000,
        role: TaskRole | str | None = None,
    ) -> list[TaskEntity]:
        """Return sub-tasks of a parent in their order, a page at a time, as `results`."""
        if type(limit) is not int or not 1 <= limit <= RESULT_LIMIT:
            raise InvalidInput("the list request", [Fault("limit", f"1 to {RESULT_LIMIT:,}")])
        if type(after) is not int or not -1 <= after <= LARGEST:
            advice = "the position of the last one, or -1 to begin"
            raise InvalidInput("the list request", [Fault("after", advice)])
        try:
            chosen = None if role is None else TaskRole(role)
        except ValueError:
            known = ", ".join(TaskRole)
            raise InvalidInput("the list request", [Fault("role", f"one of {known}")]) from None
        return self._store.tasks.sub_tasks(
            self._tasks.id_of(reference),
            self._scope,
            after=after,
            limit=limit,
            role=chosen,
            reader=self._tasks,
        )

    def sequence_progress(
        self, reference: str, *, cache: StepCache | None = None
    ) -> SequenceProgress:
        """Return the progress of a sequence; raises TaskNotFound, InvalidInput for another task.

        With a cache, a large result of a finished step is fetched from the payload store once.
        """
        parent = self._tasks.get_task(reference)
        spec = (parent.spec or {}).get("sequence", {})
        steps = self.sub_tasks(
            parent.id, after=spec.get("base", 0) - 1, limit=RESULT_LIMIT, role=TaskRole.STEP
        )
        return progress_of(parent, steps, SafeStepCache(cache))

    def step_results(
        self, reference: str, *, cache: StepCache | None = None
    ) -> list[SubTaskResult]:
        """Return the finished steps of a sequence, in order; raises as `sequence_progress`."""
        shown = self.sequence_progress(reference, cache=cache).steps
        return [one for one in shown if one.status is TaskStatus.COMPLETED]

    def split(
        self,
        task_id: str,
        token: str,
        owner: TaskType,
        tenant: str,
        part_type: str,
        items: Iterable[Any],
        options: FanOut,
    ) -> bool:
        """Create the parts of a running task, for `ctx.fan_out`.

        Returns False if the run with this claim token may not create parts. A worker calls it;
        raises InvalidInput for a scoped client.
        """
        return self._submissions.split(task_id, token, owner, tenant, part_type, items, options)
