"""Makes the end of a worker hang, as a library does that waits for a thread of its own at exit.

A task module of the tests: its wait begins in the worker's main process, when its work is done.
"""

import atexit
import os
import threading
from typing import Any

from celery.signals import worker_init


@worker_init.connect
def wait_at_exit(**_: Any) -> None:
    main = os.getpid()
    atexit.register(lambda: os.getpid() != main or threading.Event().wait())
