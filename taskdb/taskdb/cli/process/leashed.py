"""A command that ends when the process that started it is gone.

Run as `python -m taskdb.cli.process.leashed COMMAND…` with a pipe as standard input, in a session
of its own: the end of the pipe is the end of the starter.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from taskdb.cli import main

GRACE_SECONDS = 15.0
"""Time to end in order; a message that was not acknowledged by then comes back."""


def follow_standard_input() -> None:
    """Wait for its end, then stop this process: in order, and after the grace by force."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=follow_standard_input, name="leash", daemon=True).start()
    sys.exit(main())
