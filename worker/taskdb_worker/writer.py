"""The main process's pen: a thread that writes what receivers of the event loop only hand over.

A receiver that spoke to the database itself would stop heartbeats, acks and dispatch for as long
as that takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

import structlog

from taskdb.errors import DatabaseUnreachable

log = structlog.get_logger("taskdb.writer")

Work = Callable[[], object]

_LONGEST_PAUSE_SECONDS = 2.0


class Writer:
    """Carries out writes in order, each until the database answers; one thread, made at start."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[str, Work] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._patience = float("inf")

    def start(self) -> None:
        """Start the thread; it belongs to this process."""
        self._thread = threading.Thread(target=self._work, name="taskdb-writer", daemon=True)
        self._thread.start()

    def write(self, what: str, work: Work) -> None:
        """Hand over a write and return at once."""
        self._queue.put((what, work))

    def stop(self, seconds: float) -> None:
        """Finish what was handed over, for so many seconds at most."""
        self._patience = time.monotonic() + seconds
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(seconds)
            self._thread = None

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            self._until_answered(*item)

    def _until_answered(self, what: str, work: Work) -> None:
        pause = 0.05
        while True:
            try:
                work()
            except DatabaseUnreachable as error:
                log.warning("database.away", verb=what, reason=str(error))
            except Exception:
                # One write that cannot be done must not keep the others from being done.
                log.exception("write.broken", verb=what)
                return
            else:
                return
            if time.monotonic() + pause > self._patience:
                log.error("write.given_up", verb=what)
                return
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
