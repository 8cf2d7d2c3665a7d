"""A time limit on the end of a worker's process.

Other code runs after a shutdown, without a limit: billiard stops its pool once more when the
interpreter ends, and a library of the tasks may wait there for a thread of its own.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

from billiard.process import active_children

from taskdb.logger import get_logger

log = get_logger("taskdb.worker")


def limit_exit(seconds: float, exit_code: int) -> None:
    """Let this process take this many seconds to end, after its main thread has ended.

    Then end it with this exit code, and kill the rest of its pool. Call it when all work is done. A
    process whose main thread continues is not ended.
    """
    # A daemon: it must not itself keep the interpreter from ending.
    threading.Thread(
        target=_end_late, args=(seconds, exit_code), name="taskdb-exit-limit", daemon=True
    ).start()


def _end_late(seconds: float, exit_code: int) -> None:
    # A program that continues after its worker has ended is not a worker that hangs.
    threading.main_thread().join()
    time.sleep(seconds)
    log.warning("exit.forced", after_seconds=seconds, exit_code=exit_code)
    for child in active_children():
        # Not SIGTERM: a child that waits for a lock, or is stopped, would stay.
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    os._exit(exit_code)
