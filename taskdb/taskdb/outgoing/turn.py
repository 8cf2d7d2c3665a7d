"""One turn of one target: send its next messages in order, and record the progress."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

from taskdb.errors import DeliveryFailed, TargetRefused
from taskdb.logger import get_logger
from taskdb.model.subscription import SubscriptionState
from taskdb.outgoing.contract import Transport
from taskdb.redaction.redaction import Redaction
from taskdb.store.outgoing.delivery import Deliveries, Due, Leased, LeasedMessage, Passed

log = get_logger("taskdb.delivery")

SCAN = 2_000
"""The events that are read at once, before the filter."""
BATCH = 100
"""The notifications that are read at once."""
SLICE_SECONDS = 5.0
"""The longest turn; then other subscriptions get theirs."""
SLOW_SECONDS = 1.0
"""A send that takes longer makes a target a slow one."""
_WRITE_SECONDS = 1.0
"""The progress is written at least this often."""
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Terms:
    """The lease of a delivery, the pauses between its tries, and when a subscription is dead."""

    lease: timedelta
    first_delay: timedelta
    longest_delay: timedelta
    give_up: timedelta
    redaction: Redaction

    def delay_of(self, attempts: int) -> timedelta:
        """Return how long to wait after this many failed sends of one message."""
        grown = min(self.first_delay * 2.0 ** min(attempts - 1, 20), self.longest_delay)
        # Spreading load needs no cryptographic randomness.
        return grown * (1 + _JITTER * (2 * random.random() - 1))  # noqa: S311


class Turn:
    """Sends in order, one after another. A target that failed or took long `is_slow`."""

    def __init__(
        self, deliveries: Deliveries, one: Leased, terms: Terms, stop: threading.Event
    ) -> None:
        self.is_slow = False
        self._deliveries = deliveries
        self._one = one
        self._terms = terms
        self._stop = stop
        self._passed = Passed(one.cursor)
        self._has_sent = False
        self._written_at = time.monotonic()
        self._ends_at = self._written_at + SLICE_SECONDS

    def run(self, transport: Transport) -> None:
        """Send until there is nothing more, a send fails, or the time is over.

        Ends at once if another process has the lease. Raises DatabaseError. Messages sent after the
        last write of the progress are then sent again.
        """
        limit = BATCH
        while True:
            after = self._passed.cursor
            page = self._deliveries.page(self._one, after, scan=SCAN, limit=limit)
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
        """Record why the next message was not sent, and when it is tried again."""
        self.is_slow = True
        one = self._one
        attempt = 1 if self._has_sent else one.attempts + 1
        failed = error if isinstance(error, DeliveryFailed) else self._as_failed(error)
        state = self._deliveries.fail(
            one,
            self._passed,
            failed.reason,
            delay=max(self._terms.delay_of(attempt), failed.retry_after or timedelta()),
            give_up=self._terms.give_up,
            is_final=failed.is_final,
        )
        if state is SubscriptionState.DEAD:
            log.error("subscription.stopped", reason=failed.reason, **self._subject())
        elif isinstance(one, LeasedMessage) or attempt == 1:
            log.warning("delivery.failed", reason=failed.reason, attempt=attempt, **self._subject())

    def _send(self, transport: Transport, due: Due) -> bool:
        """Send one message. Returns False if that failed or the lease was lost."""
        began = time.monotonic()
        try:
            transport.send(due.content.message(self._terms.redaction))
        except Exception as error:  # noqa: BLE001 - after any error, nothing was sent
            self.fail(error)
            return False
        if isinstance(self._one, LeasedMessage):
            log.info("alarm.delivered", attempt=self._one.attempts + 1, **self._subject())
        self._has_sent = True
        now = time.monotonic()
        self.is_slow = self.is_slow or now - began > SLOW_SECONDS
        after = due.after
        self._passed = Passed(after.cursor, after.at, self._passed.sent + after.sent)
        return now - self._written_at < _WRITE_SECONDS or self._write(ends=False)

    def _write(self, *, ends: bool) -> bool:
        """Write the progress. Returns False if the lease was lost."""
        is_held = self._deliveries.advance(self._one, self._passed, self._terms.lease, ends=ends)
        self._passed = Passed(self._passed.cursor, self._passed.at)
        self._written_at = time.monotonic()
        return is_held

    @property
    def _is_over(self) -> bool:
        return self._stop.is_set() or time.monotonic() >= self._ends_at

    def _subject(self) -> dict[str, str]:
        one = self._one
        if isinstance(one, LeasedMessage):
            return {"channel": one.name, "alarm_id": one.alarm_id}
        return {"subscription": one.name, "subscription_id": one.id}

    def _as_failed(self, error: Exception) -> DeliveryFailed:
        if isinstance(error, TargetRefused):
            return DeliveryFailed(error.reason)
        log.error("delivery.raised", exc_info=error, **self._subject())
        # Its message may contain a secret, such as a URL with a password.
        return DeliveryFailed(f"unexpected {type(error).__name__}; the log has more")
