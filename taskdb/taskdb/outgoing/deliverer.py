"""Sends due messages: those of alarms to channels, and notifications to subscriptions.

One thread at a time serves a target, and a slow or unavailable one delays no other. Each channel of
alarms has a thread. Subscriptions share some threads, and those whose target was slow or failed
share as many others. The progress is written after the send: a process that dies in between sends
again, and skips nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Container
from datetime import timedelta

from uuid_utils.compat import uuid7

from taskdb.errors import DatabaseError
from taskdb.fork import RenewedLock
from taskdb.logger import get_logger
from taskdb.model.alarm.channel import Channel, ChannelKind
from taskdb.outgoing.lane import Lane
from taskdb.outgoing.open_transports import OpenTransports
from taskdb.outgoing.transports import channel_of
from taskdb.outgoing.turn import Terms, Turn
from taskdb.settings.settings import Settings
from taskdb.store.outgoing.delivery import Deliveries, Leased, LeasedMessage
from taskdb.store.store import Store
from taskdb.store.upkeep import StoreUpkeep

log = get_logger("taskdb.delivery")

_MARGIN = timedelta(seconds=5)
_NEVER = timedelta(days=3_650)


def alarm_deliverer(
    settings: Settings, store: Store, *, own_channels_only: bool = False
) -> Deliverer:
    """Return the deliverer of alarms; it may leave unknown channels to other processes."""
    channels = [channel.name for channel in settings.alarm_channels]
    longest = timedelta(seconds=settings.outbound_total_seconds) + _MARGIN
    terms = Terms(
        lease=max(timedelta(seconds=settings.alarm_lease_seconds), longest),
        first_delay=timedelta(seconds=2),
        longest_delay=timedelta(minutes=15),
        give_up=_NEVER,
        redaction=settings.redaction,
    )
    # Unknown channels share a thread: their messages fail at once.
    lane = Lane("alarm", len(channels) + 1)
    own = channels if own_channels_only else None
    return Deliverer(settings, StoreUpkeep(store).alarm_messages, terms, (lane, lane), own)


def notification_deliverer(settings: Settings, store: Store) -> Deliverer:
    """Return the deliverer of the notifications of subscriptions."""
    terms = Terms(
        # It is renewed each second, or after a send that lasts longer.
        lease=timedelta(seconds=2 * settings.outbound_total_seconds) + _MARGIN,
        first_delay=timedelta(seconds=1),
        longest_delay=timedelta(hours=1),
        give_up=timedelta(seconds=settings.notify_give_up_seconds),
        redaction=settings.redaction,
    )
    lanes = (Lane("notify", settings.notify_threads), Lane("notify-slow", settings.notify_threads))
    return Deliverer(settings, StoreUpkeep(store).notifications, terms, lanes)


class Deliverer:
    """Gives every due target a turn. Safe to call from several threads and processes."""

    def __init__(
        self,
        settings: Settings,
        deliveries: Deliveries,
        terms: Terms,
        lanes: tuple[Lane, Lane],
        targets: Container[str] | None = None,
    ) -> None:
        """`lanes`: for fast targets and for slow ones. With `targets` it serves only these."""
        self._settings = settings
        self._deliveries = deliveries
        self._terms = terms
        self._fast, self._slow_lane = lanes
        self._targets = targets
        self._transports = OpenTransports(settings)
        self._stop = threading.Event()
        self._lock = RenewedLock()
        self._busy: set[str] = set()
        self._slow: set[str] = set()

    def run_once(self) -> bool:
        """Hand due targets to threads, without waiting. Raises DatabaseError.

        Returns False: whether there is more is known only later.
        """
        if self._stop.is_set() or not (self._fast.room or self._slow_lane.room):
            return False
        for due in self._deliveries.due():
            if self._targets is None or due.target in self._targets:
                self._serve_soon(due.target, is_failing=due.is_failing)
        return False

    def settle(self, seconds: float | None = None) -> bool:
        """Wait until every turn is over, after `run_once` by hand. Returns False if not in time."""
        return self._fast.join(seconds) and self._slow_lane.join(seconds)

    def close(self, seconds: float | None = None) -> None:
        """End after the current sends, and write their progress. Wait at most `seconds`."""
        self._stop.set()
        if self.settle(seconds):
            self._transports.close()

    def _serve_soon(self, target: str, *, is_failing: bool) -> None:
        with self._lock:
            is_slow = is_failing or target in self._slow
            lane = self._slow_lane if is_slow else self._fast
            if target not in self._busy and lane.start(self._serve, target):
                self._busy.add(target)

    def _serve(self, target: str) -> None:
        is_slow, one = False, None
        try:
            while not self._stop.is_set():
                one = self._deliveries.take(target, str(uuid7()), self._terms.lease)
                if one is None:
                    break
                is_slow = self._send(target, one) or is_slow
                if not isinstance(one, LeasedMessage):
                    break
        except DatabaseError as error:
            log.warning("delivery.postponed", target=target, reason=str(error))
        except Exception as error:
            # The other targets continue. This one is tried again, more slowly.
            is_slow = True
            log.exception("delivery.raised", target=target)
            self._set_aside(one, error)
        finally:
            with self._lock:
                self._busy.discard(target)
                (self._slow.add if is_slow else self._slow.discard)(target)

    def _send(self, target: str, one: Leased) -> bool:
        """Send the messages of one turn. Returns whether the target is slow."""
        turn = Turn(self._deliveries, one, self._terms, self._stop)
        try:
            transport = self._transports.get(target, self._channel(one), self._busy)
        except Exception as error:  # noqa: BLE001 - any error means: not reachable
            turn.fail(error)
        else:
            turn.run(transport)
        return turn.is_slow

    def _channel(self, one: Leased) -> Channel:
        if isinstance(one, LeasedMessage):
            return channel_of(self._settings, one.name)
        return Channel(one.name, ChannelKind(one.transport), one.target, one.secrets)

    def _set_aside(self, one: Leased | None, error: Exception) -> None:
        try:
            if one is not None:
                self._deliveries.set_aside(one, error)
        except DatabaseError as unreachable:
            # Its lease keeps it from the next passes all the same.
            log.warning("delivery.postponed", target=one and one.name, reason=str(unreachable))
