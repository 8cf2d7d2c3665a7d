"""`taskdb queues` and `taskdb workers`."""

from __future__ import annotations

from taskdb.cli.overview.presenter import QUEUE, WORKER
from taskdb.cli.session import Session, with_session


@with_session
def list_queues(session: Session) -> None:
    """List the queues: their open tasks, the age of the oldest ready one, workers, pauses."""
    QUEUE.print_all(session.output, session.taskdb.queues.list(), "no open task, and no worker")


@with_session
def list_workers(session: Session) -> None:
    """List the live workers, the newest first."""
    nothing = "no worker runs: start one with `taskdb worker`"
    WORKER.print_all(session.output, session.taskdb.workers.list(), nothing)
