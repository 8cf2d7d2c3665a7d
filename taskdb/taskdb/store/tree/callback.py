"""Callbacks: a run gives a token to an outside system, which ends the task with it.

The row keeps only the hash of the token. A token counts once, for the run that made it, until its
deadline. A callback that comes while the body still runs is kept in the row. The end of the body,
or the next attempt if the run died, finds it there and ends the task by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from taskdb.errors import CallbackRefused, TaskDBError
from taskdb.model.entity import TaskError, TaskRole
from taskdb.model.fan_out import HandlerSpec
from taskdb.model.json_text import encode
from taskdb.model.outcome import Report
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Scope
from taskdb.store.engine.aside import Aside
from taskdb.store.engine.database import Database
from taskdb.store.payload.payload import Payload
from taskdb.store.task.detail import spelled_error
from taskdb.store.task.outcome import status_after
from taskdb.store.task.parent import Parent
from taskdb.store.task.report import reported
from taskdb.store.task.table import TaskTable
from taskdb.store.task.task_id import is_id
from taskdb.store.tree.decision import handlers_of, handlers_spec
from taskdb.store.tree.join import Joins
from taskdb.store.tree.unit import Unit
from taskdb.store.tree.units import Units

STAGE = "callback"
CALLBACKS = "callbacks"
_DOES_NOT_END = "it waits for a callback and has open sub-tasks: end these, or cancel it"
_AFTER = "after_callback"
"""The key in the spec of a task that waits, for the handlers of its type that its worker has."""


@dataclass(frozen=True, slots=True)
class AwaitedTask:
    """The task that a token belongs to."""

    id: str
    type: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The content of a callback: the output of the task, or its error."""

    output: Payload
    error: TaskError | None = None


def digest_of(token: str) -> str:
    """Return the hash of a token, which the row keeps. It does not help to guess the token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class Callbacks:
    """The verbs of callbacks."""

    def __init__(
        self,
        database: Database,
        aside: Aside,
        table: TaskTable,
        units: Units,
        joins: Joins,
    ) -> None:
        self._database = database
        self._aside = aside
        self._table = table
        self._units = units
        self._joins = joins

    def expect(
        self, task_id: str, token: str, digest: str, deadline: timedelta | datetime | None
    ) -> bool:
        """Accept a callback for this run from now on.

        Returns False where a cancel was requested or another run has the task.
        """
        if not is_id(task_id):
            return False
        until = deadline if isinstance(deadline, datetime) else None
        timeout = deadline.total_seconds() if isinstance(deadline, timedelta) else None
        written = {
            "id": task_id,
            "token": token,
            "hash": digest,
            "until": None if until is None else self._database.dialect.spell(until),
            "timeout": timeout,
        }
        return bool(self._database.query(self._table.queries.expect_callback, written))

    def wait(
        self, task_id: str, token: str, report: Report, handlers: Sequence[HandlerSpec]
    ) -> TaskStatus | None:
        """Make a task wait without a worker, or end it by a callback that has come already."""
        if not is_id(task_id):
            return None
        spec = {_AFTER: [one.as_json() for one in handlers]} if handlers else None
        written = {
            "token": token,
            **reported(report),
            "spec": None if spec is None else encode(spec, "spec", deepest=None),
            "detail": encode({"waits_for": STAGE}, "detail"),
        }
        place = self._table.place(task_id)
        statement = self._table.moves.await_callback

        def work() -> TaskStatus | None:
            with self._units.open() as unit:
                parents = self._parents_of_step(unit, place)
                before = unit.lock(task_id)
                moved = unit.move(statement, task_id, **written)
                status = status_after(statement, moved, token)
                row = unit.lock(task_id)
                is_moved = moved is not None and moved.after is not None
                if is_moved and before is not None and before.called_back and row is not None:
                    self._end_by(unit, parents, row, _answer_in(before))
                    row = unit.lock(task_id)
                    status = None if row is None else row.status
            self._joins.follow(unit.after)
            return status

        return self._database.again(work)

    def is_called_back(self, task_id: str) -> bool:
        """Return whether a callback has come while the body still runs."""
        found = self._database.query(self._table.queries.called_back, {"id": task_id})
        return bool(found)

    def find(self, digest: str, scope: Scope) -> AwaitedTask:
        """Return the task that waits for this callback. Raises CallbackRefused."""
        place = self._awaiting(digest, scope)
        return AwaitedTask(str(place["id"]), place["type"], place["attempt"])

    def resume(self, digest: str, answer: Answer, scope: Scope, by: str | None = None) -> str:
        """End a task by its callback. Returns the id of the task.

        If the body still runs, the task ends when the body does. Raises CallbackRefused.
        """

        def work() -> str:
            place = self._awaiting(digest, scope)
            task_id = str(place["id"])
            with self._units.open() as unit:
                unit.by = by
                parents = self._parents_of_step(unit, place)
                row = unit.lock(task_id)
                if row is None or not unit.is_awaited(task_id, digest):
                    raise CallbackRefused
                if row.waits_for == STAGE:
                    self._end_by(unit, parents, row, answer)
                else:
                    _keep(unit, row, answer)
            self._joins.follow(unit.after)
            return task_id

        return self._database.again(work)

    def expire(self, limit: int) -> list[str]:
        """Fail tasks whose callback did not come by its deadline. Returns their ids."""
        late = self._database.query(
            self._table.queries.late_callbacks, {"limit": limit}, writes=False
        )

        def expire(place: Any) -> str | None:
            return str(place["id"]) if self._expire_one(place) else None

        ended = self._aside.each(CALLBACKS, late, expire, key=lambda place: str(place["id"]))
        return [task_id for task_id in ended if task_id is not None]

    def _expire_one(self, place: Any) -> bool:
        error = TaskError("CallbackTimeout", "callback deadline passed: nobody called back in time")
        task_id = str(place["id"])

        def work() -> bool:
            with self._units.open() as unit:
                parents = self._parents_of_step(unit, place)
                row = unit.lock(task_id)
                # Since the query its callback may have come, or it was canceled and runs again.
                if row is None or row.waits_for != STAGE or not unit.is_late(task_id):
                    return False
                if not self._end_by(unit, parents, row, Answer(Payload(None, None), error)):
                    raise TaskDBError(_DOES_NOT_END)
            self._joins.follow(unit.after)
            return True

        return self._database.again(work)

    def _awaiting(self, digest: str, scope: Scope) -> Any:
        found = self._database.query(self._table.queries.awaiting, {"hash": digest}, writes=False)
        if not found or not scope.allows(found[0]["tenant"]):
            raise CallbackRefused
        return found[0]

    def _parents_of_step(self, unit: Unit, place: Any) -> list[Parent]:
        """Lock the parents of a step before it: its end and the next step are one transaction."""
        if place is None or place["role"] != TaskRole.STEP or place["parent_id"] is None:
            return []
        return self._joins.lock_chain(unit, str(place["parent_id"]))

    def _end_by(self, unit: Unit, parents: Sequence[Parent], row: Parent, answer: Answer) -> bool:
        """End a task that waits, and act on its end. Returns False where it does not end."""
        if answer.error is not None:
            failed = spelled_error(answer.error, unit.by)
            ended = unit.move(unit.moves.join_fail, row.id, **failed)
        elif handlers := [HandlerSpec.from_json(one) for one in row.spec.get(_AFTER, ())]:
            self._finish_with(unit, row, answer.output, handlers)
            return True
        else:
            ended = unit.move(
                unit.moves.join_complete,
                row.id,
                result=answer.output.text,
                result_ref=answer.output.reference,
                detail=unit.reason("called back"),
            )
        if ended is None or ended.after is None:
            return False
        if parents:
            self._joins.decide_chain(unit, parents)
        elif row.parent_id is not None:
            unit.after.joins.append(row.parent_id)
        return True

    def _finish_with(
        self, unit: Unit, row: Parent, output: Payload, handlers: Sequence[HandlerSpec]
    ) -> None:
        before = handlers_of(unit, row.id)
        unit.move(
            unit.moves.join_finish,
            row.id,
            waits_for="handlers",
            spec=handlers_spec(handlers, base=len(before)),
            timeout=None,
            result=output.text,
            result_ref=output.reference,
            detail=unit.reason("called back"),
        )
        waiting = unit.lock(row.id)
        if waiting is not None:
            self._joins.decide(unit, waiting)


def _keep(unit: Unit, row: Parent, answer: Answer) -> None:
    """Keep a callback in the row while the body runs. The task keeps its worker and slots."""
    failed = answer.error is not None
    kept = (
        encode(answer.error.as_json(), "error", deepest=None)
        if answer.error
        else answer.output.text
    )
    unit.move(
        unit.moves.answer,
        row.id,
        called_back=TaskStatus.FAILED if failed else TaskStatus.COMPLETED,
        result=kept,
        result_ref=None if failed else answer.output.reference,
        detail=unit.reason("called back while its body still ran"),
    )


def _answer_in(row: Parent) -> Answer:
    """Return the callback that `_keep` wrote."""
    if row.called_back == TaskStatus.FAILED:
        return Answer(Payload(None, None), TaskError.from_json(row.result))
    text = None if row.result is None else encode(row.result, "the output", deepest=None)
    return Answer(Payload(row.result, text, row.result_ref))
