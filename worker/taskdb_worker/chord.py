"""The chord of a fan-out: Celery counts the parts, and the rows decide what follows.

The row of a part names its parent. After each part of a chord, Celery calls the result backend in
the process that ran it. When no part is open, that publishes the chord's body (`taskdb.finalize`),
which ends the parent. Where a part ends elsewhere (a killed process, a cancel), that code checks
the rows itself, and the reconcile loop checks the rest. Repeated checks do no harm.
"""

# Celery has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from celery import Celery, signals, states

from taskdb.celery.message_signature import MessageKeys
from taskdb.celery.publish.publisher import FINALIZE, publish_end
from taskdb.fork import renew_after_fork
from taskdb.logger import get_logger
from taskdb_worker.process.worker_process import WorkerProcess
from taskdb_worker.run.tracked_task import ENDED, Part

log = get_logger("taskdb.join")

_INTERVAL_SECONDS = 0.05


def install_chord(app: Celery, process: WorkerProcess) -> None:
    """Make this app count parts and end parents."""
    app.taskdb_part_ended = _PartEnded(app, process)

    @app.task(name=FINALIZE, ignore_result=True, shared=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def finalize(parent_id: str) -> None:
        """End a parent whose sub-tasks are over. Repeated calls do nothing."""
        process.execution.join(parent_id)

    # It would publish any row's results to the task its message names, and no chord needs it here.
    app.tasks.pop("celery.chord_unlock", None)


class _PartEnded:
    """The callback of the result backend after each part of a chord.

    While many parts of a parent are open, their ends are checked together, twenty times a second:
    one query covers all parts that ended before it.
    """

    def __init__(self, app: Celery, process: WorkerProcess) -> None:
        self._app = app
        self._process = process
        self._keys = MessageKeys.of(process.taskdb.settings)
        self._owed: dict[str, _EndedParts] = {}
        self._asked_at: dict[str, float] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        renew_after_fork(self)
        signals.worker_process_shutdown.connect(self._ask_all)

    def __call__(self, request: Any, state: str) -> None:
        # If the run did not write its own end, the main process reports it and checks the parent.
        if isinstance(request.chord, Part) and getattr(request, ENDED, False):
            self._count(_EndedParts(request.chord, state != states.SUCCESS))

    def after_fork(self) -> None:
        """Start empty: the thread and the pending checks belong to the parent process."""
        self._owed, self._asked_at = {}, {}
        self._thread, self._lock = None, threading.Lock()

    def _count(self, part: _EndedParts) -> None:
        with self._lock:
            waits = time.monotonic() - self._asked_at.get(part.parent_id, float("-inf"))
            known = self._owed.get(part.parent_id)
            if known is not None or waits < _INTERVAL_SECONDS:
                self._owed[part.parent_id] = part if known is None else known.with_one(part)
                self._start()
                return
            self._asked_at[part.parent_id] = time.monotonic()
        self._ask(part)

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="taskdb-join", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            time.sleep(_INTERVAL_SECONDS)
            with self._lock:
                oldest = time.monotonic() - _INTERVAL_SECONDS
                self._asked_at = {
                    parent_id: at for parent_id, at in self._asked_at.items() if at > oldest
                }
                if not self._owed and not self._asked_at:
                    self._thread = None
                    return
            self._ask_all()

    def _ask_all(self, **_: Any) -> None:
        with self._lock:
            owed, self._owed = self._owed, {}
            # The next look checks the parts that end from now on.
            self._asked_at.update(dict.fromkeys(owed, time.monotonic()))
        for part in owed.values():
            self._ask(part)

    def _ask(self, part: _EndedParts) -> None:
        try:
            left = self._process.execution.part_ended(part.parent_id, badly=part.is_bad)
            if left.open == 0:
                self._publish_body(part)
            elif left.are_few or left.is_held:
                with self._lock:
                    self._asked_at.pop(part.parent_id, None)
        except Exception:
            # The part has ended: no error here may make Celery report another end.
            log.exception("join.postponed", parent_id=part.parent_id)

    def _publish_body(self, part: _EndedParts) -> None:
        try:
            publish_end(self._app, self._keys, part.parent_id, part.part.queue)
        except Exception as error:  # noqa: BLE001 - any error of the broker: this process ends it
            log.warning("join.unpublished", parent_id=part.parent_id, reason=str(error))
            self._process.execution.join(part.parent_id)


@dataclass(frozen=True, slots=True)
class _EndedParts:
    """Ended parts of one parent that are not checked yet."""

    part: Part
    is_bad: bool

    @property
    def parent_id(self) -> str:
        return self.part.parent_id

    def with_one(self, part: _EndedParts) -> _EndedParts:
        return replace(self, is_bad=self.is_bad or part.is_bad)
