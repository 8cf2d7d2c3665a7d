"""Notifies subscriptions of changes: each with unsent history gets a turn.

Each is leased and served by one thread. Those whose target was slow or failed have threads of their
own, so that they delay only each other. The cursor is written after the send: a beat that dies in
between sends again, and skips nothing.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from uuid_utils.compat import uuid7

from taskdb.errors import DatabaseError
from taskdb.fork import RenewedLock
from taskdb.logger import get_logger
from taskdb.redaction.redaction import redaction_of
from taskdb.settings.settings import Settings
from taskdb.store.outgoing.subscription.notification import DELIVER, LeasedSubscription
from taskdb.store.store import Store
from taskdb_beat.loops.delivery import Delivery, Terms
from taskdb_beat.loops.open_transports import OpenTransports
from taskdb_beat.loops.threads import Lane

log = get_logger("taskdb.notify")


class Deliver:
    """Gives every due subscription its turn. `close` ends it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._terms = Terms(
            # It is renewed each second, or after a send that lasts longer.
            lease=timedelta(seconds=2 * settings.outbound_total_seconds + 5),
            give_up=timedelta(seconds=settings.notify_give_up_seconds),
            redaction=redaction_of(settings.redact_fields, settings.redact_patterns),
        )
        self._transports = OpenTransports(settings)
        self._fast = Lane("notify", settings.notify_threads)
        self._late = Lane("notify-slow", settings.notify_threads)
        self._stop = threading.Event()
        self._lock = RenewedLock()
        self._busy: set[str] = set()
        self._slow: set[str] = set()

    def run_once(self) -> bool:
        """Hand due subscriptions to threads, without waiting. Raises DatabaseError.

        Returns False: whether there is more is known only later.
        """
        room = self._fast.room + self._late.room
        if not room or self._stop.is_set():
            return False
        with self._lock:
            busy = self._busy | (set() if self._late.room else self._slow)
        token, began = str(uuid7()), time.monotonic()
        leased = self._store.notifications.lease(token, self._terms.lease, room, busy)
        if len(leased) < room:
            self._store.aside.over(DELIVER, time.monotonic() - began)
        for one in leased:
            with self._lock:
                self._busy.add(one.id)
                is_slow = one.attempts > 0 or one.id in self._slow
            (self._late if is_slow else self._fast).submit(self._serve, one, began)
        return False

    def settle(self, seconds: float) -> bool:
        """Wait until every turn is over, after `run_once` by hand. Returns False if not in time."""
        return self._fast.join(seconds) and self._late.join(seconds)

    def close(self) -> None:
        """End after the current sends. Their cursors are written."""
        self._stop.set()
        self._fast.close()
        self._late.close()
        self._transports.close()

    def _serve(self, one: LeasedSubscription, leased_at: float) -> None:
        is_slow = False
        try:
            # Another beat may have leased a subscription that waited for a thread.
            if time.monotonic() - leased_at < self._terms.lease.total_seconds() / 2:
                is_slow = self._deliver(one)
        except DatabaseError as error:
            log.warning("subscription.postponed", subscription=one.name, reason=str(error))
        except Exception as error:
            # The other subscriptions continue. This one is tried again, more slowly.
            is_slow = True
            log.exception("subscription.failed", subscription=one.name)
            self._set_aside(one, error)
        finally:
            with self._lock:
                self._busy.discard(one.id)
                (self._slow.add if is_slow else self._slow.discard)(one.id)

    def _set_aside(self, one: LeasedSubscription, error: Exception) -> None:
        try:
            self._store.aside.note(DELIVER, one.id, error)
        except DatabaseError as away:
            # Its lease keeps it from the next passes all the same.
            log.warning("subscription.postponed", subscription=one.name, reason=str(away))

    def _deliver(self, one: LeasedSubscription) -> bool:
        delivery = Delivery(self._store, one, self._terms, self._stop)
        try:
            transport = self._transports.get(one, self._busy)
        except Exception as error:  # noqa: BLE001 - any error means: not reachable
            delivery.fail(error)
        else:
            delivery.run(transport)
        return delivery.is_slow
