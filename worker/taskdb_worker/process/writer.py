"""A thread of the main process that writes for the receivers of the event loop.

A receiver that wrote to the database itself would block heartbeats, acks and dispatch meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf
from queue import SimpleQueue

from taskdb.logger import get_logger
from taskdb_worker.run.execution import Execution
from taskdb_worker.run.row_write import is_waited_out

log = get_logger("taskdb.writer")

Work = Callable[[], object]

_UNKNOWN_SECONDS = 30.0
"""How long an unknown error delays the other writes. Rescue does the rest."""


class Writer:
    """Carries out writes in order, in one thread, each until the database accepts it."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._queue: SimpleQueue[tuple[str, Work] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._patience = inf

    def start(self) -> None:
        """Start the thread. It belongs to this process."""
        self._thread = threading.Thread(target=self._work, name="taskdb-writer", daemon=True)
        self._thread.start()

    def write(self, what: str, work: Work) -> None:
        """Hand over a write and return at once."""
        self._queue.put((what, work))

    def stop(self, seconds: float) -> None:
        """Finish the writes that were handed over, for this many seconds at most."""
        self._patience = time.monotonic() + seconds
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(seconds)
            self._thread = None

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            self._carry_out(*item)

    def _carry_out(self, what: str, work: Work) -> None:
        try:
            self._execution.row_writes.write(
                work, what, "", deadline=lambda: self._patience, unknown_seconds=_UNKNOWN_SECONDS
            )
        except Exception as error:
            if is_waited_out(error):
                log.error("write.abandoned", verb=what, reason=str(error))  # noqa: TRY400 - known cause
            else:
                # One write that fails must not keep the others from being done.
                log.exception("write.failed", verb=what)
