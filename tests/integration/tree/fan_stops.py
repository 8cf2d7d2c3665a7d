"""Deaths on the way from a part's end to its parent's, at the moments that a test names by a file.

A task module of the tests. `kill-<id>` in the folder makes the first process that comes by the
point with this id (of a part or a parent) die; with the word `worker` in it, its worker as well.
"""

import os
import signal
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from tests.integration.worker_tasks import folder

from taskdb_worker import chord
from taskdb_worker.run import tracked_task
from taskdb_worker.run.execution import Execution


def die_if_asked(point: str, *names: Any) -> None:
    for name in names:
        path = folder() / f"kill-{name}"
        try:
            wanted, _, whom = path.read_text().partition(":")
        except OSError:
            continue
        if wanted != point:
            continue
        path.unlink()
        if whom == "worker":
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def dying(point: str, function: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
    @wraps(function)
    def die_first(*arguments: Any, **keywords: Any) -> Any:
        names = [_id_in(one) for one in arguments]
        if not after:
            die_if_asked(point, *names)
        answer = function(*arguments, **keywords)
        if after:
            die_if_asked(point, *names)
        return answer

    return die_first


def _id_in(argument: Any) -> Any:
    """That of a request, or of the parent of which the argument tells."""
    known = "id" if hasattr(argument, "root_id") else "parent_id"
    return argument if isinstance(argument, str) else getattr(argument, known, None)


POINTS = ("outcome written", "about to count", "counted", "body published", "about to join")

tracked_task._tell_celery = dying("outcome written", tracked_task._tell_celery)
Ended = chord._PartEnded
Ended.__call__ = dying("about to count", Ended.__call__)  # type: ignore[method-assign]
Ended._publish_body = dying(  # type: ignore[method-assign]
    "body published", dying("counted", Ended._publish_body), after=True
)
Execution.join = dying("about to join", Execution.join)  # type: ignore[method-assign]
