"""Publishing from a thread of its own, so that a caller waits a bounded time at most.

What the thread cannot publish in time stays CREATED for the relay, so that a broker that is away
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
"""How long a commit that was announced may take before its rows are left to the relay."""
_LOOK_SECONDS = 0.02
"""Pause between two looks whether rows are committed."""


class BackgroundPublisher:
    """One thread, made in the process that uses it and never inherited through a fork.

    After a failure, or while the thread hangs in the broker, a breaker leaves everything to the
    relay. One that `rests` leaves everything to it from the beginning.
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
        """Publish, waiting no longer than the budget; answers the ids that are QUEUED for sure.

        Never raises for a broker or a database that is away: what was not published is logged
        and left to the relay. `wait=False` returns at once. `certain=False`: the rows are about
        to be committed, so the thread first looks whether they are.
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
        """Publish the parts of a fan-out, a page after another, without waiting for it.

        `certain=False`: its rows are about to be committed.
        """
        if not self._is_open():
            self._enqueue(_Job([], certain=certain, family=parent_id))

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Leave everything to the relay meanwhile."""
        with self._lock:
            until, self._open_until = self._open_until, float("inf")
        try:
            yield
        finally:
            with self._lock:
                self._open_until = until

    def close(self) -> None:
        """Let the thread finish what it has, for as long as the budget; then it is left alone."""
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
        # The budget is for one answer of the broker; a bulk submit hands over many batches.
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
                    # The interpreter is on its way out, or there are no threads left to have.
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
                # Nobody waits for a commit any more: one look, and the relay does the rest.
                for job in uncommitted:
                    job.deadline = 0.0
            decided = self._decided(uncommitted)
            uncommitted = [job for job in uncommitted if job not in decided]
            self._publish_now([*ready, *decided])
            for job in families:
                if not is_last and self._publish_page(job):
                    # Behind what others wait for.
                    jobs.put(job)

    def _publish_page(self, job: _Job) -> bool:
        """Publish the next page of a fan-out; answers whether there may be more."""
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
        """Those whose rows are all to be seen, or have had their time: then those that are."""
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
        # What waited while the broker failed is the relay's: to try each of them in turn would
        # keep this thread in a frozen broker for minutes.
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
            # Nothing may end this thread: a submit must never depend on it.
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
    """Items of one submit, and the promise of an answer; or a family, of which `after` is done.

    One without either ends the thread.
    """

    def __init__(self, items: Sequence[Publication], *, certain: bool, family: str = "") -> None:
        self.items = list(items)
        self.family = family
        self.after = ""
        self.certain = certain
        self.done: Future[set[str]] = Future()
        self.deadline = time.monotonic() + COMMIT_SECONDS


def _together(jobs: SimpleQueue[_Job], seconds: float | None) -> list[_Job]:
    """The next job, with all that are waiting behind it: concurrent submits share a batch."""
    batch: list[_Job] = []
    try:
        batch.append(jobs.get(timeout=seconds))
        while len(batch) < BATCH:
            batch.append(jobs.get_nowait())
    except Empty:
        return batch
    return batch
