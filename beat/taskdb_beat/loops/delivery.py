"""One turn of one subscription: send the next events of the history, then move the cursor."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

from taskdb.errors import DeliveryFailed, TargetRefused
from taskdb.logger import get_logger
from taskdb.model.notification import message_of
from taskdb.model.subscription import SubscriptionState
from taskdb.outgoing.contract import Transport
from taskdb.redaction.redaction import Redaction
from taskdb.store.outgoing.subscription.notification import Due, LeasedSubscription, Passed
from taskdb.store.store import Store

log = get_logger("taskdb.notify")

SCAN = 2_000
"""The events that are read at once, before the filter."""
BATCH = 100
"""The notifications that are read at once."""
SLICE_SECONDS = 5.0
"""The longest turn; then other subscriptions get theirs."""
SLOW_SECONDS = 1.0
"""A send that takes longer makes a target a slow one."""
_WRITE_SECONDS = 1.0
"""The cursor is written at least this often."""
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 3_600.0
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of serving a subscription."""

    lease: timedelta
    give_up: timedelta
    redaction: Redaction


class Delivery:
    """Sends in order, one after another. A target that failed or took long `is_slow`."""

    def __init__(
        self, store: Store, one: LeasedSubscription, terms: Terms, stop: threading.Event
    ) -> None:
        self.is_slow = False
        self._store = store
        self._one = one
        self._terms = terms
        self._stop = stop
        self._passed = Passed(one.cursor, None)
        self._has_sent = False
        self._written_at = time.monotonic()
        self._ends_at = self._written_at + SLICE_SECONDS

    def run(self, transport: Transport) -> None:
        """Send until there is nothing more, a send fails, or the time is over.

        Ends at once if another beat has the lease. Raises DatabaseError. Notifications sent after
        the last write of the cursor are then sent again.
        """
        limit = BATCH
        while True:
            after = self._passed.cursor
            page = self._store.notifications.page(self._one, after, scan=SCAN, limit=limit)
            for due in page.due:
                if self._is_over:
                    self._write(ends=True)
                    return
                if not self._send(transport, due):
                    return
            self._passed = Passed(page.end.cursor, page.end.at, self._passed.sent)
            # The whole page may precede one event. Then that event needs a larger page.
            limit = limit * 10 if page.end.cursor == after else BATCH
            ends = self._is_over or not page.is_full
            if not self._write(ends=ends) or ends:
                return

    def fail(self, error: Exception) -> None:
        """Record why the next notification was not sent, and when it is tried again."""
        self.is_slow = True
        one, passed = self._one, self._passed
        attempts = 1 if self._has_sent else one.attempts + 1
        failed = error if isinstance(error, DeliveryFailed) else _as_failed(error)
        state = self._store.notifications.fail(
            one,
            passed,
            str(failed),
            delay=max(delay_of(attempts), failed.retry_after or timedelta()),
            give_up=self._terms.give_up,
            is_final=failed.is_final,
        )
        said = {"subscription": one.name, "subscription_id": one.id, "reason": str(failed)}
        if state is SubscriptionState.DEAD:
            log.error("subscription.stopped", **said)
        elif attempts == 1:
            log.warning("notification.failed", **said)

    def _send(self, transport: Transport, due: Due) -> bool:
        """Send one notification. Returns False if that failed or the lease was lost."""
        began = time.monotonic()
        try:
            transport.send(message_of(due.notification, self._terms.redaction))
        except Exception as error:  # noqa: BLE001 - after any error, nothing was sent
            self.fail(error)
            return False
        self._has_sent = True
        now = time.monotonic()
        self.is_slow = self.is_slow or now - began > SLOW_SECONDS
        self._passed = Passed(due.place, due.notification.event.at, self._passed.sent + 1)
        return now - self._written_at < _WRITE_SECONDS or self._write(ends=False)

    def _write(self, *, ends: bool) -> bool:
        """Write the cursor. Returns False if the lease was lost."""
        is_held = self._store.notifications.advance(
            self._one, self._passed, self._terms.lease, ends=ends
        )
        self._passed = Passed(self._passed.cursor, self._passed.at)
        self._written_at = time.monotonic()
        return is_held

    @property
    def _is_over(self) -> bool:
        return self._stop.is_set() or time.monotonic() >= self._ends_at


def _as_failed(error: Exception) -> DeliveryFailed:
    if isinstance(error, TargetRefused):
        return DeliveryFailed(str(error))
    log.error("subscription.failed", exc_info=error)
    # Its message may contain a secret, such as a URL with a password.
    return DeliveryFailed(f"unexpected {type(error).__name__}; the log of the beat has more")


def delay_of(attempts: int) -> timedelta:
    """Return how long to wait after this many failed sends of one event."""
    grown = min(_FIRST_DELAY * 2.0 ** min(attempts - 1, 20), _LONGEST_DELAY)
    # Spreading load needs no cryptographic randomness.
    return timedelta(seconds=grown * (1 + _JITTER * (2 * random.random() - 1)))  # noqa: S311
