"""The relay: hands committed rows to the broker when they are due.

It publishes tasks that the submitting process could not publish, scheduled tasks, retries, and rows
inserted by plain SQL. Any number of relays may run: each leases its rows in the database.
"""

from __future__ import annotations

import time
from datetime import timedelta

from taskdb.celery.publish.publisher import Publishes
from taskdb.logger import get_logger
from taskdb.settings.settings import Settings
from taskdb.store.store import Store
from taskdb.store.task.publish import RELAY

log = get_logger("taskdb.relay")


class Relay:
    """Publishes due rows, one batch in each pass."""

    def __init__(self, settings: Settings, store: Store, publisher: Publishes) -> None:
        self._store = store
        self._publisher = publisher
        self._batch = settings.relay_batch
        self._lease = timedelta(seconds=settings.relay_lease_seconds)

    def run_once(self) -> bool:
        """Publish one batch. Returns whether there may be more.

        Raises BrokerUnreachable. The rows are then due again when their lease ends.
        """
        began = time.monotonic()
        due = self._store.publications.lease_due(self._batch, self._lease)
        if not due:
            self._store.aside.over(RELAY, time.monotonic() - began)
            return False
        try:
            self._publisher.publish(due)
        except BaseException:
            self._store.publications.end_lease(due)
            raise
        log.debug("relay.published", count=len(due))
        if len(due) == self._batch:
            return True
        self._store.aside.over(RELAY, time.monotonic() - began)
        return False
