"""Release: publishes held tasks once their limits have room.

A worker releases held tasks itself when one of its tasks has ended. This loop releases new
arrivals, tasks whose limit was lifted or whose window is over, and those that a dead worker left.
"""

from __future__ import annotations

import time
from datetime import timedelta

from taskdb.celery.publish.publisher import Publishes
from taskdb.logger import get_logger
from taskdb.settings.settings import Settings
from taskdb.store.admission.release import RELEASE
from taskdb.store.store import Store

log = get_logger("taskdb.release")

BATCH = 500
SWEEP_SECONDS = 60.0
"""How often orphaned slots are searched for. There should be none."""


class Release:
    """Releases and publishes held tasks, a batch a pass."""

    def __init__(self, settings: Settings, store: Store, publisher: Publishes) -> None:
        self._store = store
        self._publisher = publisher
        self._lease = timedelta(seconds=settings.relay_lease_seconds)
        self._after = ""
        self._began = time.monotonic()
        self._swept_at = float("-inf")

    def run_once(self) -> bool:
        """Release one batch. Returns whether there may be more.

        Raises BrokerUnreachable. The relay then publishes the released tasks.
        """
        self._sweep()
        if not self._after:
            self._began = time.monotonic()
        if not self._store.admission.has_held():
            self._over()
            return False
        released = self._store.admission.release(BATCH, self._lease, after=self._after)
        if released.is_busy:
            return False
        self._after = released.after
        if released.publications:
            try:
                self._publisher.publish(released.publications)
            except BaseException:
                self._store.publications.end_lease(released.publications)
                raise
            log.debug("release.published", count=len(released.publications))
        if not released.after and not released.is_full:
            self._over()
        return released.is_full

    def _over(self) -> None:
        """Record that every wait queue was checked since the round began."""
        self._store.aside.over(RELEASE, time.monotonic() - self._began)

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = time.monotonic()
        count = self._store.admission.sweep_slots(BATCH)
        if count:
            log.info("release.slots_freed", count=count)
