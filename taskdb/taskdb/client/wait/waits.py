"""Waits until a task has settled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import wait as wait_for_futures
from contextlib import suppress
from typing import Any

from taskdb.client.wait.watcher import Settled, Watcher
from taskdb.errors import DatabaseError, Fault, InvalidInput, WaitTimeout
from taskdb.model.bounds import LONGEST, shown
from taskdb.model.entity import TaskEntity

GetTask = Callable[[str], TaskEntity]


class Waits:
    """Waits for tasks. All waits of a process share one query every quarter of a second."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def wait(self, get_task: GetTask, reference: str, timeout: float | None) -> TaskEntity:
        """Block until the task that `get_task` returns has settled; see `TaskDB.wait_task`."""
        _check_timeout(timeout)
        waiting = _Waiting(get_task(reference), timeout)
        while not waiting.is_over:
            future = self._watcher.watch(waiting.task.id)
            try:
                wait_for_futures([future], waiting.left)
                waiting.look(future, get_task)
            finally:
                self._watcher.leave(waiting.task.id, future)
        return waiting.task

    async def wait_async(
        self,
        get_task: GetTask,
        reference: str,
        timeout: float | None,  # noqa: ASYNC109 - as its twin
    ) -> TaskEntity:
        """Wait as `wait` does, without holding a thread."""
        _check_timeout(timeout)
        waiting = _Waiting(await asyncio.to_thread(get_task, reference), timeout)
        while not waiting.is_over:
            future = self._watcher.watch(waiting.task.id)
            try:
                done, _ = await asyncio.wait([asyncio.wrap_future(future)], timeout=waiting.left)
                for one in done:
                    one.exception()  # raised below; here it is only marked as seen
                await asyncio.to_thread(waiting.look, future, get_task)
            finally:
                self._watcher.leave(waiting.task.id, future)
        return waiting.task


class _Waiting:
    """One wait: the task as last seen, and the time that is left."""

    def __init__(self, task: TaskEntity, timeout: float | None) -> None:
        self.task = task
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout

    @property
    def is_over(self) -> bool:
        return self.task.status.is_settled

    @property
    def left(self) -> float | None:
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0)

    def look(self, future: Settled, get_task: GetTask) -> None:
        """Read the task once it has settled, or once the time is over.

        Raises WaitTimeout, and the error of the future or of the read. If the database is
        unavailable and time is left, the caller reads again.
        """
        if future.done():
            future.result()
        with suppress(DatabaseError):
            self.task = get_task(self.task.id)
        if not self.is_over and self.left == 0:
            raise WaitTimeout(self.task.id, self.task.status, self._timeout or 0)


def _check_timeout(given: Any) -> None:
    if given is None:
        return
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not given <= LONGEST.total_seconds():
        advice = f"{shown(given)} is not a number of seconds; leave it out to wait for ever"
        raise InvalidInput("the wait", [Fault("timeout", advice)])
