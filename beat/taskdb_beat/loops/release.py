"""Release: lets go who waits before a gate, once there is room.

A worker lets the next one go itself when a task of its own has ended; this loop has those who have
just arrived, whose rule was lifted, whose window is over, and whatever a dead worker left.
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
"""How often slots are looked for that nobody has any more; there should be none."""


class Release:
    """Lets go and publishes, a batch a pass."""

    def __init__(self, settings: Settings, store: Store, publisher: Publishes) -> None:
        self._store = store
        self._publisher = publisher
        self._lease = timedelta(seconds=settings.relay_lease_seconds)
        self._after = ""
        self._began = time.monotonic()
        self._swept_at = float("-inf")

    def run_once(self) -> bool:
        """Let one batch go; answers whether there may be more.

        Raises BrokerUnreachable; the relay has then those who were let go.
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
        """Every line has been looked at since the round began."""
        self._store.aside.over(RELEASE, time.monotonic() - self._began)

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = time.monotonic()
        count = self._store.admission.sweep_slots(BATCH)
        if count:
            log.info("release.slots_freed", count=count)
