"""Release held tasks as soon as a task that held slots has ended, without waiting for a loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from taskdb.client.taskdb import TaskDB
from taskdb.errors import DatabaseError
from taskdb.fork import renew_after_fork
from taskdb.logger import get_logger
from taskdb.store.admission.release import Released

log = get_logger("taskdb.release")

_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.16
_PAUSE_SHARE = 4
"""Each pause takes at least this many times as long as the look before it. Tasks that end in the
meantime share the next look, and a busy worker keeps its time for its tasks."""
_WORTH = 1 / 8
"""A look that finds a smaller share of slots free was early: the next pause is longer."""
_LATE = 1 / 2
"""A look that finds this share free was late: tasks ended faster. On a slow machine a look takes
long, and pauses many times as long would leave slots empty."""


class SlotRelease:
    """Releases held tasks in a thread of its own, which starts when needed and is never inherited.

    Beat releases the tasks that this thread misses (a dead process, or another that released long).
    """

    def __init__(self, taskdb: TaskDB) -> None:
        self._taskdb = taskdb
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start with new state: threads and locks stay behind in the parent process."""
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._wait_queues: set[str] = set()
        self._thread: threading.Thread | None = None

    def wake(self, wait_queues: Iterable[str]) -> None:
        """Release in these wait queues soon, since slots are free. Never waits."""
        with self._lock:
            self._wait_queues.update(wait_queues)
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._work, name="taskdb-hand-over", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    # The interpreter is about to end.
                    return
                self._thread = thread
        self._wanted.set()

    def _work(self) -> None:
        pause = _PAUSE_SECONDS
        while self._wanted.wait():
            self._wanted.clear()
            with self._lock:
                wait_queues, self._wait_queues = self._wait_queues, set()
            began = time.monotonic()
            released = self._look(wait_queues)
            if released.is_busy or released.is_full:
                with self._lock:
                    self._wait_queues |= wait_queues
                self._wanted.set()
            if not released.is_busy:
                pause = _pause_after(released, pause)
            time.sleep(max(pause, _rest_after(released) * (time.monotonic() - began)))

    def _look(self, wait_queues: set[str]) -> Released:
        try:
            return self._taskdb.limits.release(sorted(wait_queues))
        except DatabaseError as error:
            log.warning("release.postponed", reason=str(error))
        except Exception:
            # Nothing may end this thread. Beat releases the tasks.
            log.exception("release.failed")
        return Released()


def _rest_after(released: Released) -> int:
    """Return how many times as long as the look the next pause is, at least."""
    return 1 if released.share >= _LATE else _PAUSE_SHARE


def _pause_after(released: Released, before: float) -> float:
    if released.share >= _WORTH:
        return max(before / 2, _PAUSE_SECONDS)
    return min(before * 2, _LONGEST_PAUSE_SECONDS)
