"""The main process's pen: a thread that writes what receivers of the event loop only hand over.

A receiver that spoke to the database itself would stop heartbeats, acks and dispatch for as long
as that takes.
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
"""How long an unknown error keeps the other writes waiting; rescue does the rest."""


class Writer:
    """Carries out writes in order, each until the database answers; one thread, made at start."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._queue: SimpleQueue[tuple[str, Work] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._patience = inf

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
            self._carry_out(*item)

    def _carry_out(self, what: str, work: Work) -> None:
        try:
            self._execution.patience.write(
                work,
                what,
                "",
                deadline=lambda: self._patience,
                unknown_seconds=_UNKNOWN_SECONDS,
            )
        except Exception as error:
            if is_waited_out(error):
                log.error("write.abandoned", verb=what, reason=str(error))  # noqa: TRY400 - known cause
            else:
                # One write that cannot be done must not keep the others from being done.
                log.exception("write.failed", verb=what)
