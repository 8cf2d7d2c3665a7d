"""The next in line goes when a task that held slots has ended, without waiting for a loop."""

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
"""A pause after each look, so many times as long as it took and no shorter than that: what ends
meanwhile shares the next look, and a busy worker spends its time on its tasks."""
_WORTH = 1 / 8
"""A look that finds fewer of the places of a rule free was early: the next pause is longer."""
_LATE = 1 / 2
"""... and one that finds so many free was late, since tasks ended faster than it came: on a slow
machine, where a look takes long, pauses so many times as long would let a rule run dry."""


class HandOver:
    """Looks at lines in a thread of its own, made when first needed and never inherited.

    What it misses (its process died, another one was at it for long) is the beat's.
    """

    def __init__(self, taskdb: TaskDB) -> None:
        self._taskdb = taskdb
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew: threads and locks stay behind in the parent."""
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._lines: set[str] = set()
        self._thread: threading.Thread | None = None

    def wake(self, lines: Iterable[str]) -> None:
        """Something has been given back for which someone may wait in these lines."""
        with self._lock:
            self._lines.update(lines)
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._work, name="taskdb-hand-over", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    # The interpreter is on its way out.
                    return
                self._thread = thread
        self._wanted.set()

    def _work(self) -> None:
        pause = _PAUSE_SECONDS
        while self._wanted.wait():
            self._wanted.clear()
            with self._lock:
                lines, self._lines = self._lines, set()
            began = time.monotonic()
            released = self._look(lines)
            if released.is_busy or released.is_full:
                with self._lock:
                    self._lines |= lines
                self._wanted.set()
            if not released.is_busy:
                pause = _pause_after(released, pause)
            time.sleep(max(pause, _rest_after(released) * (time.monotonic() - began)))

    def _look(self, lines: set[str]) -> Released:
        try:
            return self._taskdb.limits.release(sorted(lines))
        except DatabaseError as error:
            log.warning("release.postponed", reason=str(error))
        except Exception:
            # Nothing may end this thread; the beat lets them go.
            log.exception("release.failed")
        return Released()


def _rest_after(released: Released) -> int:
    """How many times as long as the look the pause after it is, at least."""
    return 1 if released.share >= _LATE else _PAUSE_SHARE


def _pause_after(released: Released, before: float) -> float:
    if released.share >= _WORTH:
        return max(before / 2, _PAUSE_SECONDS)
    return min(before * 2, _LONGEST_PAUSE_SECONDS)
