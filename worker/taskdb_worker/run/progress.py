"""Writes the progress of running bodies beside them, so that a report never makes a body wait."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from taskdb.fork import renew_after_fork
from taskdb.logger import get_logger

log = get_logger("taskdb.run")

PROGRESS_INTERVAL_SECONDS = 0.5
"""The progress of a run is written at most this often. The last report comes with the outcome."""


class Reporting(Protocol):
    """A run that has something to report."""

    def save(self) -> None:
        """Write the newest report."""


class ProgressWriter:
    """Writes in a thread of its own, which starts when needed, ends at rest, is never inherited."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start with new state: the thread and the lock stay behind in the parent process."""
        self._lock = threading.Lock()
        self._waiting: set[Reporting] = set()
        self._is_running = False

    def wake(self, run: Reporting) -> None:
        """Save this run soon. Never waits for the database."""
        with self._lock:
            self._waiting.add(run)
            if self._is_running:
                return
            thread = threading.Thread(target=self._work, name="taskdb-progress", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # No thread can start any more: the outcome contains the report.
                return
            self._is_running = True

    def forget(self, run: Reporting) -> None:
        """Start no further save of this run. One that has started is not stopped."""
        with self._lock:
            self._waiting.discard(run)

    def _work(self) -> None:
        while True:
            with self._lock:
                runs, self._waiting = self._waiting, set()
                self._is_running = bool(runs)
            if not runs:
                return
            for run in runs:
                _save(run)
            time.sleep(PROGRESS_INTERVAL_SECONDS)


def _save(run: Reporting) -> None:
    try:
        run.save()
    except Exception:
        # Nothing may end the thread. The outcome contains the report, and fails for it.
        log.exception("progress.refused")
