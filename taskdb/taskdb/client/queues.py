"""The queues: the open tasks of each by state, and the number of its workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from taskdb.client.caller.caller import Caller
from taskdb.model.status import RUNNING, TaskStatus
from taskdb.settings.settings import Settings
from taskdb.store.contract import EVERYONE
from taskdb.store.doctor.count import SystemCounts, TaskCount
from taskdb.store.store import Store


@dataclass(frozen=True, slots=True)
class Queue:
    """The open tasks of one queue, each counted once, and its live workers.

    `ready`: a worker may start them now. `held`: a limit, a mutex or a pause holds them. `later`:
    their time has not come, or an application publishes them itself (adopted tasks). `running`: a
    worker has claimed them. `waiting`: for sub-tasks or a callback. `halted`: until a person acts.
    `oldest_seconds` is the age of the task that has been ready longest. `pause` is the reason of
    the pause of this queue: empty without one, None if the queue is not paused.
    """

    name: str
    ready: int = 0
    held: int = 0
    later: int = 0
    running: int = 0
    waiting: int = 0
    halted: int = 0
    oldest_seconds: float | None = None
    workers: int = 0
    pause: str | None = None

    @property
    def is_unserved(self) -> bool:
        """Tasks are ready, and no live worker consumes the queue."""
        return bool(self.ready) and not self.workers


class Queues:
    """`taskdb.queues`: for the operator only; other callers get InvalidInput."""

    def __init__(self, settings: Settings, store: Store, caller: Caller) -> None:
        self._settings = settings
        self._store = store
        self._caller = caller

    def list(self) -> list[Queue]:
        """Return every queue with open tasks, a live worker or a pause, by name.

        Reads open tasks alone, however many have ended. Raises DatabaseError.
        """
        self._caller.require_operator()
        counts = SystemCounts(self._store.database)
        tasks: dict[str, list[TaskCount]] = defaultdict(list)
        for kindred in counts.tasks(by_tenant=False):
            tasks[kindred.queue].append(kindred)
        lease = timedelta(seconds=self._settings.worker_lease_seconds)
        workers = counts.workers(lease).by_queue
        pauses = {
            place.name: place.reason or ""
            for place in self._store.limits.all(EVERYONE)
            if place.target == "queue" and place.is_paused
        }
        return [
            _queue(name, tasks[name], workers.get(name, 0), pauses.get(name))
            for name in sorted({*tasks, *workers, *pauses})
        ]


def _queue(name: str, tasks: Iterable[TaskCount], workers: int, pause: str | None) -> Queue:
    counted: dict[str, int] = defaultdict(int)
    ages = []
    for one in tasks:
        if one.is_waiting or one.status is TaskStatus.FINISHED:
            counted["waiting"] += one.number
        elif one.status is TaskStatus.HALTED:
            counted["halted"] += one.number
        elif one.rule:
            counted["held"] += one.number
        elif one.status in RUNNING:
            counted["running"] += one.number
        else:
            counted["ready"] += one.ready
            counted["later"] += one.number - one.ready
        if one.oldest_ready_seconds is not None:
            ages.append(one.oldest_ready_seconds)
    oldest = max(ages, default=None)
    return Queue(name, **counted, oldest_seconds=oldest, workers=workers, pause=pause)
