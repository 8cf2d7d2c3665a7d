"""Makes the end of a worker hang, the way a killed pool child does.

A task module of the tests: each child of the pool takes the lock of the result queue when it is
about to say that it ends, and dies with it.
"""

import os
import signal
from typing import Any

from billiard.process import current_process
from celery.signals import worker_process_shutdown


@worker_process_shutdown.connect
def die_with_the_lock(**_: Any) -> None:
    current_process().outq._wlock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)
