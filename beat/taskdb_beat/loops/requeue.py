"""Finds rows whose message the broker has lost, and has them published again.

A message counts as lost in two cases. Either a message of the same queue and priority that was sent
much later has been taken. Or the queue was found empty, and since then each worker has listed its
messages, without this one. A row that is suspected wrongly gets a second message, which the claim
refuses.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from taskdb.celery.publish.publisher import Publisher
from taskdb.logger import get_logger
from taskdb.settings.settings import Settings
from taskdb.store.doctor.lost_message import LiveWorkers, QueueAndPriority, QueuedRow, overtaken
from taskdb.store.store import Store

log = get_logger("taskdb.reconcile")

_PAGE = 2_000
_SECONDS = 1.0
"""A pass checks no longer than this. The next pass continues where it ended."""
_ON_ITS_WAY = timedelta(seconds=1)
"""A row is marked after its message was sent, and a queue is counted after the time was read."""
_GONE = "the broker has no message of it: its queue is empty"
_PASSED = "the broker has no message of it: one that came later was taken"


class Requeue:
    """Hands back rows with a lost message. Rows and time of a pass are bounded."""

    def __init__(self, settings: Settings, store: Store, publisher: Publisher) -> None:
        self._suspects = store.lost_messages
        self._publisher = publisher
        self._lease = timedelta(seconds=settings.worker_lease_seconds)
        self._by = timedelta(seconds=settings.reconcile_after_seconds)
        # A worker lists a message after a heartbeat. The second is for the delivery.
        self._grace = timedelta(seconds=2 * settings.heartbeat_seconds + 1)
        self._limit = settings.reconcile_batch
        self._taken: dict[QueueAndPriority, datetime] = {}
        self._looks: dict[str, list[datetime]] = {}
        """The times at which each queue was found empty: the last one before `grace`, and all later
        ones."""
        self._place: QueuedRow | None = None
        self._began = time.monotonic()

    def run_once(self) -> bool:
        """Check some QUEUED rows. The rest is for the next interval.

        Raises BrokerUnreachable.
        """
        if self._place is None:
            self._began = time.monotonic()
        rows = self._suspects.queued(self._place, _PAGE)
        if rows:
            self._look(rows)
        else:
            self._place = None
        if self._place is None:
            self._suspects.over(time.monotonic() - self._began)
        return False

    def _look(self, rows: list[QueuedRow]) -> None:
        workers = self._suspects.live_workers(self._lease)
        empty = self._emptied(workers)
        self._remember(self._suspects.taken())
        until, left = time.monotonic() + _SECONDS, self._limit
        while rows and left > 0 and time.monotonic() < until:
            lost = self._lost(rows, workers, empty)
            for reason, some in lost.items():
                moved = self._suspects.hand_back(some[:left], reason, workers.now)
                left -= len(moved)
                for task_id in moved:
                    log.warning("message.lost", task_id=task_id, reason=reason)
            # Rows beyond the limit are checked again.
            is_done = left > 0 and len(rows) == _PAGE
            self._place = rows[-1] if is_done else None
            rows = self._suspects.queued(self._place, _PAGE) if is_done else []

    def _lost(
        self, rows: Sequence[QueuedRow], workers: LiveWorkers, empty: dict[str, datetime]
    ) -> dict[str, list[QueuedRow]]:
        free = [row for row in rows if row.message not in workers.messages]
        gone = [
            row
            for row in free
            if (seen := empty.get(row.queue)) is not None and row.queued_at <= seen - _ON_ITS_WAY
        ]
        known = {row.id for row in gone}
        passed = [row for row in overtaken(free, self._taken, self._by) if row.id not in known]
        return {_GONE: gone, _PASSED: passed}

    def _emptied(self, workers: LiveWorkers) -> dict[str, datetime]:
        """Return the queues that were empty, each with the last time before `grace`."""
        for queue, depth in self._publisher.depths(workers.queues).items():
            if not depth:
                self._looks.setdefault(queue, []).append(workers.now)
        found: dict[str, datetime] = {}
        for queue in workers.queues & self._looks.keys():
            looks = self._looks[queue]
            old = [look for look in looks if look <= workers.now - self._grace]
            if old:
                found[queue] = old[-1]
                self._looks[queue] = [old[-1], *looks[len(old) :]]
        return found

    def _remember(self, taken: dict[QueueAndPriority, datetime]) -> None:
        """Keep the newest of each queue and priority, since short tasks may have ended by now."""
        for line, newest in taken.items():
            self._taken[line] = max(newest, self._taken.get(line, newest))
