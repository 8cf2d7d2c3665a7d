"""Waits for tasks to settle: one thread of a process polls for all waiters, with one query.

It polls every quarter of a second while there is a waiter, and not at all otherwise, so that a
thousand waiters cost as much as one. While the database is unavailable it continues to poll.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Protocol

from taskdb.errors import DatabaseError, WaitInterrupted
from taskdb.fork import renew_after_fork
from taskdb.logger import get_logger
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE, Scope

log = get_logger("taskdb.watcher")

LOOK_SECONDS = 0.25
_JOIN_SECONDS = 5.0

Settled = Future[TaskStatus | None]
"""The status of a settled task; None if the task no longer exists."""


class StatusReader(Protocol):
    """The method of the store that the watcher needs."""

    def statuses(self, ids: Iterable[str], scope: Scope) -> Mapping[str, TaskStatus]:
        """Return the status of each of these tasks that exists; raises DatabaseError."""


class Watcher:
    """The waiters of this process. Safe between threads; empty after a fork."""

    def __init__(self, rows: StatusReader) -> None:
        self._rows = rows
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the waiters and the thread of the parent process."""
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Settled]] = {}
        self._nobody = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, task_id: str) -> Settled:
        """Return a future of the end of this task; WaitInterrupted if the watcher closes before.

        Pass it to `leave` when the wait is over.
        """
        future: Settled = Future()
        with self._lock:
            self._waiting.setdefault(task_id, []).append(future)
            if self._thread is None:
                self._nobody = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=[self._nobody], name="taskdb-watcher", daemon=True
                )
                self._thread.start()
        return future

    def leave(self, task_id: str, future: Settled) -> None:
        """Remove this future from the waiters of the task."""
        with self._lock:
            waiting = self._waiting.get(task_id, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(task_id, None)
            self._rest_if_alone()

    def close(self) -> None:
        """End every wait with WaitInterrupted and stop the thread. A later wait restarts it."""
        with self._lock:
            interrupted, self._waiting = self._waiting, {}
            thread = self._thread
            self._rest_if_alone()
        for task_id, futures in interrupted.items():
            for future in futures:
                _set(future, error=WaitInterrupted(task_id))
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)

    def _run(self, nobody: threading.Event) -> None:
        is_away = False
        while not nobody.wait(LOOK_SECONDS):
            with self._lock:
                ids = list(self._waiting)
            try:
                # A client reads the task in its own scope before the wait and after it.
                found = self._rows.statuses(ids, EVERYONE)
            except DatabaseError as error:
                if not is_away:
                    log.warning("wait.delayed", tasks=len(ids), reason=str(error))
                is_away = True
            except Exception as error:  # noqa: BLE001 - any error must end the waits
                self._settle(dict.fromkeys(ids), error)
            else:
                is_away = False
                self._settle({one: found.get(one) for one in ids})

    def _settle(
        self, found: Mapping[str, TaskStatus | None], error: Exception | None = None
    ) -> None:
        over = [one for one, status in found.items() if status is None or status.is_settled]
        with self._lock:
            waiting = {one: self._waiting.pop(one, []) for one in over}
            self._rest_if_alone()
        for task_id, futures in waiting.items():
            for future in futures:
                _set(future, found[task_id], error)

    def _rest_if_alone(self) -> None:
        """Stop the thread if there is no waiter; the next waiter starts another. Holds the lock."""
        if not self._waiting and self._thread is not None:
            self._nobody.set()
            self._thread = None


def _set(future: Settled, status: TaskStatus | None = None, error: Exception | None = None) -> None:
    # The waiter may have given up at this moment.
    with suppress(InvalidStateError):
        if error is None:
            future.set_result(status)
        else:
            future.set_exception(error)
