"""The connection of a running body to its row: reports, fan-out, callback, results."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from taskdb.client.taskdb import TaskDB
from taskdb.logger import get_logger
from taskdb.model.entity import SubTaskResult
from taskdb.model.fan_out import FanOut
from taskdb.model.outcome import NO_REPORT, Cancel, Report
from taskdb.store.contract import Claim
from taskdb.store.tree.callback import digest_of
from taskdb.types.task_type import TaskType
from taskdb_worker.run.progress import ProgressWriter
from taskdb_worker.run.row_write import RowWrites, is_waited_out

log = get_logger("taskdb.run")

T = TypeVar("T")

_TOKEN_BYTES = 32
"""The random bytes in the token of a callback."""


class Run:
    """Gives the context of one run access to its row."""

    def __init__(
        self,
        taskdb: TaskDB,
        patience: RowWrites,
        task_id: str,
        task_type: TaskType,
        claim: Claim,
        token: str,
        writer: ProgressWriter | None,
    ) -> None:
        self._taskdb = taskdb
        self._patience = patience
        self._store = taskdb.store
        self._task_id = task_id
        self.type = task_type
        self._claim = claim
        self._token = token
        self.has_fanned_out = False
        self.awaits_callback = False
        self.unwritten_error: Exception | None = None
        """The error that kept the sub-tasks from being written. It is no error of the body."""
        self._writer = writer
        # Only the body's thread sets the first, only `save` the second: no report is lost.
        self._reported = self._saved = NO_REPORT
        self._saving = threading.Lock()
        self._is_over = False
        self._pid = os.getpid()

    def report(self, report: Report) -> None:
        self._reported = self.unwritten(report)
        if os.getpid() != self._pid:
            # A copy of the process may end before a thread of its own has written, and another
            # thread may have held the lock at the fork.
            self._write_report()
        elif self._writer is not None:
            self._writer.wake(self)

    def save(self) -> None:
        """Write the newest report, unless the body has ended. Raises the error of a bad value."""
        with self._saving:
            if not self._is_over and self._reported is not self._saved:
                self._write_report()

    def _write_report(self) -> None:
        newest = self._reported
        try:
            self._store.runs.progress(self._task_id, self._token, newest)
        except Exception as error:
            if not is_waited_out(error):
                raise
            # The next report, or the outcome, contains this one too.
            log.warning("progress.delayed", task_id=self._task_id, reason=str(error))
        else:
            self._saved = newest

    def end(self, write: Callable[[], T]) -> T:
        """Write the end of the body after the last report that is being written."""
        if self._writer is not None:
            self._writer.forget(self)
        with self._saving:
            self._is_over = True
        return write()

    def unwritten(self, report: Report) -> Report:
        """Return the report, completed by an earlier one that was not written."""
        earlier = self._reported
        lost = NO_REPORT if earlier is self._saved else earlier
        return Report(
            lost.attributes if report.attributes is None else report.attributes,
            lost.current if report.current is None else report.current,
            lost.total if report.current is None else report.total,
            lost.message if report.message is None else report.message,
        )

    def cancel_wanted(self) -> bool:
        try:
            return self._store.runs.is_cancel_wanted(self._task_id, self._token)
        except Exception as error:
            if not is_waited_out(error):
                raise
            # The body asks again, and its heartbeat does at the latest.
            return False

    def fan_out(self, type: str, items: Iterable[Any], options: FanOut) -> None:
        if self.has_fanned_out:
            raise RuntimeError("this body has fanned out already: a task has one set of parts")
        self._refuse_both()
        # The parts begin with a parent whose progress is theirs.
        self.save()
        source = _Items(items)

        def split() -> bool:
            return self._taskdb.trees.split(
                self._task_id, self._token, self.type, self._claim.tenant, type, source, options
            )

        try:
            self.has_fanned_out = self._ask(split, "fan out", lambda: not source.is_used_up)
        except Exception as error:
            if is_waited_out(error):
                self.unwritten_error = error
            raise
        if not self.has_fanned_out:
            raise Cancel("a cancel was asked for, or another run has the task: no parts were made")

    def wait_for_callback(self, deadline: timedelta | datetime | None) -> str:
        self._refuse_both()
        # Never with a leading dash, which a command line reads as an option.
        callback = f"cb_{secrets.token_urlsafe(_TOKEN_BYTES)}"
        expect = partial(
            self._store.callbacks.expect, self._task_id, self._token, digest_of(callback), deadline
        )
        self.awaits_callback = self._ask(expect, "expect callback")
        if not self.awaits_callback:
            message = "a cancel was asked for, or another run has the task: there is no callback"
            raise Cancel(message)
        return callback

    def _refuse_both(self) -> None:
        if os.getpid() != self._pid:
            message = "a copy of the process, which the body forked, decides nothing of its task"
            raise RuntimeError(message)
        if self.has_fanned_out or self.awaits_callback:
            message = "this body has fanned out or asked for a callback already: one of them, once"
            raise RuntimeError(message)

    def results(self) -> Iterator[SubTaskResult]:
        if self._claim.parent_id is None:
            return
        after = -1
        while page := self._ask(
            partial(self._taskdb.trees.results, self._claim.parent_id, after=after), "read"
        ):
            yield from page
            after = page[-1].position

    def parent_input(self) -> Any:
        if self._claim.parent_id is None:
            return None
        parent_id = self._claim.parent_id
        return self._ask(lambda: self._taskdb.get_task(parent_id).input, "read")

    def _ask(
        self, work: Callable[[], T], what: str, may_repeat: Callable[[], bool] = lambda: True
    ) -> T:
        return self._patience.ask(work, what, self._task_id, may_repeat)


class _Items:
    """The items of a fan-out. They can be read again unless they are an iterator."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items
        self.is_used_up = False

    def __iter__(self) -> Iterator[Any]:
        self.is_used_up = isinstance(self._items, Iterator)
        return iter(self._items)
