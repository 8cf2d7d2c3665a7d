"""The situation of a task, with its possible reasons: workers, limits, sub-tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from taskdb.model.entity import TaskEntity
from taskdb.model.status import PUBLISHABLE
from taskdb.store.contract import Scope
from taskdb.store.engine.database import Database
from taskdb.store.engine.types import as_moment, moment
from taskdb.store.task.read import Tasks
from taskdb.store.task.slot_need import OWN
from taskdb.store.task.statements import queries_of
from taskdb.store.task.worker import WorkerRecord, Workers

_FEW = 5
"""The most holders of a limit or mutex that are named."""
_MANY = 1_000
"""The count of earlier tasks in the queue stops here."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The task in a slot that another one waits for; None is a start that counts `until` then."""

    task_id: str | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class LimitNotice:
    """A limit or pause, with its author and reason."""

    reason: str | None
    set_by: str | None
    set_at: datetime | None
    max_running: int | None
    max_starts: int | None
    window_seconds: float | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why the broker refused a task's message, and when."""

    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TaskSituation:
    """A snapshot of a task; times are by the database's clock.

    `holders` are those that the scope may see; `other_holders` counts the rest. With `is_operator`
    the explanation may name workers and quote the broker.
    """

    now: datetime
    task: TaskEntity
    relay_at: datetime
    callback_until: datetime | None
    unregistered: int
    worker: WorkerRecord | None
    live: tuple[WorkerRecord, ...]
    holders: tuple[Holder, ...]
    other_holders: int
    is_operator: bool
    limit: LimitNotice | None
    refusal: Refusal | None
    open_sub_tasks: int
    first_open: str | None
    before: int
    busy: int


class Situations:
    """Reads from the database why a task has its status."""

    def __init__(self, database: Database, tasks: Tasks, workers: Workers) -> None:
        self._database = database
        self._tasks = tasks
        self._workers = workers

    def get(self, task_id: str, scope: Scope, *, lease: timedelta) -> TaskSituation:
        """Take a snapshot. A worker seen within the lease is alive. Raises TaskNotFound.

        Tasks of other tenants are counted and not named. A tenant does not get the reason of an
        operator's pause.
        """
        task = self._with_pause(self._tasks.get(task_id, scope))
        holders, others = self._holders(task, scope)
        (beside,) = self._ask("beside", id=task.id)
        open_sub_tasks, first_open = self._open_below(task, scope)
        return TaskSituation(
            now=moment(beside["now"]),
            task=task,
            relay_at=moment(beside["relay_at"]),
            callback_until=as_moment(beside["callback_until"]),
            unregistered=beside["unregistered"],
            worker=self._workers.find(task.worker) if task.worker else None,
            live=tuple(self._workers.seen_since(lease.total_seconds())),
            holders=holders,
            other_holders=others,
            is_operator=scope.tenants is None,
            limit=self._limit(task.held_by, scope),
            refusal=self._refusal(task),
            open_sub_tasks=open_sub_tasks,
            first_open=first_open,
            before=self._before(task),
            busy=self._busy(),
        )

    def _with_pause(self, task: TaskEntity) -> TaskEntity:
        """Name the pause that will hold a task which no release pass has read yet."""
        places = (("queue", task.queue), ("type", task.type), ("tenant", task.tenant))
        for target, name in places if task.held_by == "admission" else ():
            if any(row["is_paused"] for row in self._ask("limit", target=target, name=name)):
                return replace(task, held_by=f"paused:{target}:{name}")
        return task

    def _refusal(self, task: TaskEntity) -> Refusal | None:
        """The broker's refusal, if it is the latest event of the task."""
        if task.status not in PUBLISHABLE:
            return None
        found = self._ask("refusal", id=task.id)
        if not found or found[0]["reason"] is None:
            return None
        return Refusal(found[0]["reason"], moment(found[0]["at"]))

    def _open_below(self, task: TaskEntity, scope: Scope) -> tuple[int, str | None]:
        if task.waits_for in {None, "callback"}:
            return 0, None
        counted = self._ask("open_below", id=task.id)
        first = self._ask("first_open_below", id=task.id)
        is_named = bool(first) and scope.allows(first[0]["tenant"])
        return int(counted[0]["number"]), str(first[0]["id"]) if is_named else None

    def _holders(self, task: TaskEntity, scope: Scope) -> tuple[tuple[Holder, ...], int]:
        """A few holders that the scope may see, and the number of those it may not see."""
        limit = _FEW if scope.tenants is None else _MANY
        found = self._ask("holders", key=task.held_by or "", limit=limit)
        named, unnamed, others = [], [], 0
        for row in found:
            is_own = scope.tenants is None or row["tenant"] in scope.tenants
            if row["task_id"] is not None and is_own:
                named.append(Holder(str(row["task_id"]), as_moment(row["until"])))
                continue
            unnamed.append(Holder(None, as_moment(row["until"])))
            others += row["task_id"] is not None
        return (*named[:_FEW], *unnamed), others

    def _limit(self, held_by: str | None, scope: Scope) -> LimitNotice | None:
        kind, _, whose = (held_by or "").partition(":")
        target, _, name = whose.partition(":")
        if kind not in {"paused", "running", "starts"}:
            return None
        found = self._ask("limit", target=target, name=name)
        if not found:
            return None
        row = found[0]
        # A tenant's own limit comes from the tenant itself.
        is_visible = scope.tenants is None or target == OWN
        return LimitNotice(
            row["reason"] if is_visible else None,
            row["set_by"] if is_visible else None,
            as_moment(row["set_at"]),
            row["max_running"],
            row["max_starts"],
            row["window_seconds"],
        )

    def _before(self, task: TaskEntity) -> int:
        """Count the tasks that were queued before this one in its queue, and still are."""
        if task.status != "QUEUED" or task.queued_at is None:
            return 0
        queued_at = self._database.dialect.spell(task.queued_at)
        given = {"queue": task.queue, "id": task.id, "queued_at": queued_at}
        found = self._ask("before", **given, limit=_MANY)
        return int(found[0]["number"])

    def _busy(self) -> int:
        return int(self._ask("busy")[0]["number"])

    def _ask(self, query: str, **parameters: Any) -> Sequence[Any]:
        sql = getattr(queries_of(self._database.dialect, "doctor/queries"), query)
        return self._database.query(sql, parameters, writes=False)
