"""The next in line goes when a task that held slots has ended, without waiting for a loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import structlog

from taskdb.client import TaskDB
from taskdb.errors import DatabaseError
from taskdb.fork import renew_after_fork

log = structlog.get_logger("taskdb.release")

_PAUSE_SECONDS = 0.02
_PAUSE_SHARE = 4
"""A pause after each look, so many times as long as it took and no shorter than that: what ends
meanwhile shares the next look, and a busy worker spends its time on its tasks."""


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
        while self._wanted.wait():
            self._wanted.clear()
            with self._lock:
                lines, self._lines = self._lines, set()
            began = time.monotonic()
            if lines and self._look(lines):
                with self._lock:
                    self._lines |= lines
                self._wanted.set()
            time.sleep(max(_PAUSE_SECONDS, _PAUSE_SHARE * (time.monotonic() - began)))

    def _look(self, lines: set[str]) -> bool:
        try:
            return self._taskdb.release_lines(sorted(lines))
        except DatabaseError as error:
            log.warning("release.later", reason=str(error))
        except Exception:
            # Nothing may end this thread; the beat lets them go.
            log.exception("release.broken")
        return False
