"""Publishes from a separate thread, so that the caller waits only a bounded time.

Tasks that the thread cannot publish in time stay CREATED for the relay. An unavailable broker
costs the caller almost nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from taskdb.celery.publish.publisher import BATCH, Publisher
from taskdb.errors import BrokerUnreachable, DatabaseError
from taskdb.fork import renew_after_fork
from taskdb.logger import get_logger
from taskdb.store.contract import Publication

log = get_logger("taskdb.publish")

COMMIT_SECONDS = 1.0
"""How long an announced commit may take before its rows are left to the relay."""
_LOOK_SECONDS = 0.02
"""Pause between two checks whether rows are committed."""


class BackgroundPublisher:
    """One thread, started in the process that uses it and not inherited through a fork.

    After a failure, or while the thread hangs in the broker, a breaker leaves all publishing to
    the relay. A publisher that `rests` leaves it to the relay from the start.
    """

    def __init__(
        self,
        publisher: Publisher,
        budget_seconds: float,
        breaker_seconds: float,
        *,
        rests: bool = False,
    ) -> None:
        self._publisher = publisher
        self._budget = budget_seconds
        self._breaker = breaker_seconds
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open_until = float("inf" if rests else "-inf")
        renew_after_fork(self)

    def publish(
        self, items: Sequence[Publication], *, wait: bool = True, certain: bool = True
    ) -> set[str]:
        """Publish, waiting at most the budget; returns the ids that are certainly QUEUED.

        Never raises for an unavailable broker or database: unpublished tasks are logged and left to
        the relay. `wait=False` returns at once. `certain=False`: the commit of the rows is about
        to happen, so the thread first checks whether they are visible.
        """
        if not items or self._is_open():
            return set()
        job = _Job(items, certain=certain)
        if not self._enqueue(job) or not wait:
            return set()
        try:
            return job.done.result(timeout=self._budget_for(len(items)))
        except FutureTimeout:
            self._trip("no answer in time", len(items))
            return set()

    def publish_family(self, parent_id: str, *, certain: bool = True) -> None:
        """Publish the parts of a fan-out, page by page, without waiting.

        `certain=False`: the commit of its rows is about to happen.
        """
        if not self._is_open():
            self._enqueue(_Job([], certain=certain, family=parent_id))

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Leave all publishing to the relay inside the block."""
        with self._lock:
            until, self._open_until = self._open_until, float("inf")
        try:
            yield
        finally:
            with self._lock:
                self._open_until = until

    def close(self) -> None:
        """Wait for the thread to finish its work, at most for the budget; then abandon it."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._jobs.put(_Job([], certain=True))
                self._jobs = SimpleQueue()
        if thread is not None:
            thread.join(self._budget)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._jobs = SimpleQueue()
        self._thread = None

    def _budget_for(self, count: int) -> float:
        # The budget is for one reply of the broker; a bulk submit has many batches.
        return self._budget * (1 + count // BATCH)

    def _enqueue(self, job: _Job) -> bool:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(
                    target=self._work, args=(self._jobs,), name="taskdb-publisher", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError as error:
                    # The interpreter is shutting down, or no thread can be started.
                    log.warning("publish.postponed", reason=str(error), count=len(job.items))
                    return False
                self._thread = thread
            self._jobs.put(job)
            return True

    def _work(self, jobs: SimpleQueue[_Job]) -> None:
        uncommitted: list[_Job] = []
        is_last = False
        while uncommitted or not is_last:
            batch = _together(jobs, _LOOK_SECONDS if uncommitted else None)
            families = [job for job in batch if job.family]
            batch = [job for job in batch if not job.family]
            is_last = is_last or any(not job.items for job in batch)
            uncommitted.extend(job for job in batch if not job.certain)
            ready = [job for job in batch if job.certain and job.items]
            if is_last:
                # No caller waits for a commit any more: check once; the relay publishes the rest.
                for job in uncommitted:
                    job.deadline = 0.0
            decided = self._decided(uncommitted)
            uncommitted = [job for job in uncommitted if job not in decided]
            self._publish_now([*ready, *decided])
            for job in families:
                if not is_last and self._publish_page(job):
                    # Other jobs in the queue go first.
                    jobs.put(job)

    def _publish_page(self, job: _Job) -> bool:
        """Publish the next page of a fan-out; returns whether there may be more."""
        try:
            page = self._publisher.family_page(job.family, job.after)
        except Exception as error:  # noqa: BLE001 - nothing may end this thread
            self._trip(f"{type(error).__name__}: {error}", BATCH)
            return False
        if not page:
            if job.certain or time.monotonic() > job.deadline:
                return False
            time.sleep(_LOOK_SECONDS)
            return True
        job.certain, job.after = True, page[-1].id
        if not self._is_open():
            self._published(page)
        return not self._is_open()

    def _decided(self, jobs: Iterable[_Job]) -> list[_Job]:
        """Return jobs whose rows are all visible, or whose time is over; keep the visible rows."""
        decided = []
        for job in jobs:
            try:
                seen = self._publisher.visible(job.items)
            except Exception as error:  # noqa: BLE001 - nothing may end this thread
                self._trip(f"{type(error).__name__}: {error}", len(job.items))
                seen, job.deadline = [], 0.0
            if len(seen) == len(job.items) or time.monotonic() > job.deadline:
                job.items = seen
                decided.append(job)
        return decided

    def _publish_now(self, jobs: list[_Job]) -> None:
        marked: set[str] = set()
        items = [item for job in jobs for item in job.items]
        # After a failure of the broker the relay publishes the waiting jobs: trying each of them
        # would keep this thread in a frozen broker for minutes.
        if items and not self._is_open():
            marked = self._published(items)
        for job in jobs:
            if not job.done.done():
                job.done.set_result(marked)

    def _published(self, items: Sequence[Publication]) -> set[str]:
        try:
            return self._publisher.publish(items)
        except (BrokerUnreachable, DatabaseError) as error:
            self._trip(str(error), len(items))
        except Exception:
            # This thread must not end: a submit must never depend on it.
            log.exception("publish.crashed", count=len(items))
            self._trip("unexpected error", len(items))
        return set()

    def _is_open(self) -> bool:
        return time.monotonic() < self._open_until

    def _trip(self, reason: str, count: int) -> None:
        with self._lock:
            was_open = self._is_open()
            self._open_until = time.monotonic() + self._breaker
        if not was_open:
            log.warning(
                "publish.postponed", reason=reason, count=count, pause_seconds=self._breaker
            )


class _Job:
    """The items of one submit with a future of the result, or a fan-out published up to `after`.

    A job with neither ends the thread.
    """

    def __init__(self, items: Sequence[Publication], *, certain: bool, family: str = "") -> None:
        self.items = list(items)
        self.family = family
        self.after = ""
        self.certain = certain
        self.done: Future[set[str]] = Future()
        self.deadline = time.monotonic() + COMMIT_SECONDS


def _together(jobs: SimpleQueue[_Job], seconds: float | None) -> list[_Job]:
    """Return the next job and all that wait behind it: concurrent submits share a batch."""
    batch: list[_Job] = []
    try:
        batch.append(jobs.get(timeout=seconds))
        while len(batch) < BATCH:
            batch.append(jobs.get_nowait())
    except Empty:
        return batch
    return batch
