"""Presenters of queues, workers and the whole site."""

from __future__ import annotations

from datetime import datetime

from taskdb.cli.presenter import Presenter, column
from taskdb.cli.value_text import counted, relative
from taskdb.client.overview import Overview
from taskdb.client.queues import Queue
from taskdb.model.duration import rough_duration
from taskdb.store.task.worker import WorkerRecord

QUEUE = Presenter[Queue](
    column("QUEUE", lambda queue: queue.name),
    column("READY", lambda queue: queue.ready),
    column("OLDEST", lambda queue: _age(queue.oldest_seconds)),
    column("RUNNING", lambda queue: queue.running),
    column("LATER", lambda queue: queue.later),
    column("HELD", lambda queue: queue.held),
    column("WAITING", lambda queue: queue.waiting),
    column("HALTED", lambda queue: queue.halted),
    column("WORKERS", lambda queue: queue.workers),
    column("PAUSED", lambda queue: "" if queue.pause is None else queue.pause or "yes"),
)

WORKER = Presenter[WorkerRecord](
    column("WORKER", lambda worker: worker.name),
    column("PID", lambda worker: str(worker.pid)),
    column("QUEUES", lambda worker: worker.queues),
    column("TYPES", lambda worker: len(worker.types)),
    column("RELEASE", lambda worker: worker.release),
    column("STARTED", lambda worker: _since(worker.started_at)),
    column("SEEN", lambda worker: _since(worker.seen_at)),
)


def processes_text(found: Overview) -> str:
    """`2 workers, 1 beat`."""
    return f"{counted(len(found.workers), 'worker')}, {counted(len(found.beats), 'beat')}"


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else rough_duration(seconds)


def _since(moment: datetime | None) -> str:
    return "-" if moment is None else relative(moment)
