"""Named moments at which a process stands still, for a cell to break something just there.

The first process that comes by the moment of its cell leaves its id in the file `held` and waits
for the file `go`; those that follow pass. What is wrapped are the statements of the product
themselves, and only in the processes of a cell that asks for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from tests.chaos.cell import JOINS, Moment
from tests.chaos.journal import folder

from taskdb.celery.publish.background import BackgroundPublisher
from taskdb.celery.publish.publisher import Publisher
from taskdb.store.task.publish import Publications
from taskdb.store.tree.decision import Decisions
from taskdb_beat.loops.reconcile import Reconcile
from taskdb_worker import chord
from taskdb_worker.run import tracked_task
from taskdb_worker.run.execution import Execution
from taskdb_worker.run.outcome import RunOutcome

MOMENT, WATCHED, SKIP = "CHAOS_MOMENT", "CHAOS_WATCHED", "CHAOS_SKIP"
HELD, GO, PASSED = "held", "go", "passed"

_passers = threading.local()
"""The type of the run that this thread carries out."""
_left_to_skip = iter(range(int(os.environ.get(SKIP, "0"))))


def hold() -> None:
    """Stand still, once in the life of the cell, until the cell says go."""
    mark = folder() / f"held-{os.getpid()}"
    mark.write_text(str(os.getpid()))
    try:
        # A link appears whole, or not at all.
        os.link(mark, folder() / HELD)
    except FileExistsError:
        return
    while not (folder() / GO).exists():
        time.sleep(0.01)
    (folder() / PASSED).touch()


def hold_in_body(type: str) -> None:
    if _is(Moment.IN_THE_BODY) and type == os.environ[WATCHED]:
        hold()


def arm_publisher(*, in_relay: bool) -> None:
    """Hold the process that publishes: a relay, or the one that submits."""
    if _is(Moment.BEFORE_PUBLISH):
        owner, names = BackgroundPublisher, ("publish", "publish_family")
        if in_relay:
            owner, names = Publisher, ("publish",)
        for name in names:
            _wrap(owner, name, before=_hold_after_skipping)
    if _is(Moment.AFTER_PUBLISH):
        _wrap(Publications, "mark_queued", before=_hold_after_skipping)


def leave_joins_to_workers() -> None:
    """In a beat: look after no parent before the moment is there, or it may never come."""
    look = Reconcile.run_once

    def look_once_held(reconcile: Reconcile) -> bool:
        return (folder() / HELD).exists() and look(reconcile)

    if os.environ.get(MOMENT) in JOINS:
        Reconcile.run_once = look_once_held  # type: ignore[method-assign]


def arm_worker() -> None:
    """Hold a child of a worker that runs a task of the watched type, or ends a parent."""
    _wrap(Execution, "claim", before=_remember_type, after=_hold_if_claimed)
    if _is(Moment.AFTER_THE_BODY):
        _wrap(RunOutcome, "returned", before=_hold_if_watched)
    if _is(Moment.OUTCOME_WRITTEN):
        _wrap(tracked_task, "_tell_celery", before=_hold_if_watched)
    if _is(Moment.BEFORE_JOIN):
        _wrap(chord._PartEnded, "__call__", before=_hold_if_last)
    if _is(Moment.JOINING):
        _wrap(chord._PartEnded, "_publish_body", before=_hold)
    if _is(Moment.FINALISING):
        # Inside the transaction, under the lock of the parent.
        _wrap(Decisions, "_end_parts", before=_hold)


def _hold(*_: Any) -> None:
    hold()


def _hold_after_skipping(*_: Any) -> None:
    if next(_left_to_skip, None) is None:
        hold()


def _remember_type(_execution: Any, _task_id: str, task_type: Any, *_: Any) -> None:
    _passers.type = task_type.name


def _hold_if_claimed(answer: Any) -> None:
    if _is(Moment.CLAIMED) and answer.granted:
        _hold_if_watched()


def _hold_if_watched(*_: Any) -> None:
    if getattr(_passers, "type", None) == os.environ[WATCHED]:
        hold()


def _hold_if_last(ended: Any, request: Any, _state: str) -> None:
    part = request.chord
    if not isinstance(part, tracked_task.Part):
        return
    if ended._process.taskdb.store.joins.part_ended(part.parent_id, badly=False).open == 0:
        hold()


def _is(moment: Moment) -> bool:
    return os.environ.get(MOMENT) == moment


def _wrap(
    owner: Any,
    name: str,
    *,
    before: Callable[..., None] | None = None,
    after: Callable[[Any], None] | None = None,
) -> None:
    function = getattr(owner, name)

    @wraps(function)
    def held(*arguments: Any, **keywords: Any) -> Any:
        if before is not None:
            before(*arguments)
        answer = function(*arguments, **keywords)
        if after is not None:
            after(answer)
        return answer

    setattr(owner, name, held)
