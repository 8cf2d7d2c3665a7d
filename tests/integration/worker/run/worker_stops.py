"""Named points of a task's life at which its process stops, for a test to kill it there.

A task module of the tests: it wraps the worker's own functions when it is imported, and only the
worker that was started with `STOP` in its environment. The first process that comes by leaves its
id in a file and waits for a test to let it go, or to kill it; the ones that follow pass.
"""

import os
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from tests.integration.worker_tasks import folder

from taskdb.celery.redis.transport import QoS
from taskdb_worker.run import tracked_task
from taskdb_worker.run.execution import Execution
from taskdb_worker.run.outcome import RunOutcome

STOP = "WORKER_TASKS_STOP"


def stop_here() -> None:
    """Stop until a file `go` lies in the folder, once in its life."""
    try:
        file = os.open(folder() / "stopped", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return
    os.write(file, f"{os.getpid()}\n".encode())
    os.close(file)
    until = time.monotonic() + 600
    while not (folder() / "go").exists() and time.monotonic() < until:
        time.sleep(0.05)


def stopping(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def stop_first(*arguments: Any, **keywords: Any) -> Any:
        stop_here()
        return function(*arguments, **keywords)

    return stop_first


def stopping_after(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def stop_then(*arguments: Any, **keywords: Any) -> Any:
        answer = function(*arguments, **keywords)
        stop_here()
        return answer

    return stop_then


POINTS: dict[str, tuple[Any, str]] = {
    "before the claim": (Execution, "claim"),
    "in the body": (Execution, "_call"),
    "before the outcome": (RunOutcome, "returned"),
    "after the outcome": (tracked_task, "_tell_celery"),
}
AFTER_ACK = "after the acknowledgement"
"""In the main process, before Redis hears of it."""

if os.environ.get(STOP) == AFTER_ACK:
    QoS.ack = stopping_after(QoS.ack)  # type: ignore[method-assign]
elif os.environ.get(STOP):
    owner, name = POINTS[os.environ[STOP]]
    setattr(owner, name, stopping(getattr(owner, name)))
