"""Delivers alarms: one thread a channel, so that a slow or unavailable one delays no other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from taskdb.errors import DatabaseError, DeliveryFailed, TargetRefused
from taskdb.fork import RenewedLock
from taskdb.logger import get_logger
from taskdb.outgoing.alarm.channels import open_channel
from taskdb.outgoing.alarm.contract import WayOut
from taskdb.settings.settings import Settings
from taskdb.store.outgoing.alarm.delivery import Deliveries, Outgoing

log = get_logger("taskdb.alarm")

_MARGIN_SECONDS = 1.0
_CLOSE_SECONDS = 2.0


class Deliverer:
    """Sends due messages; safe to call from several threads and processes."""

    def __init__(
        self,
        settings: Settings,
        deliveries: Deliveries,
        *,
        own_channels_only: bool = False,
        opened: Callable[[Settings, str], WayOut] = open_channel,
    ) -> None:
        """With `own_channels_only`, silently leave unknown channels to other processes."""
        self._settings = settings
        self._delivering = deliveries
        self._own_only = own_channels_only
        self._opened = opened
        self._known = {channel.name for channel in settings.alarm_channels}
        seconds = settings.outbound_total_seconds + _MARGIN_SECONDS
        self._lease = timedelta(seconds=max(settings.alarm_lease_seconds, seconds))
        self._lock = RenewedLock()
        self._threads: dict[str, threading.Thread] = {}
        self._stopping = threading.Event()

    def run_once(self) -> bool:
        """Start a thread for every channel with due messages; does not wait for them.

        Returns False: one call takes all the work. Raises DatabaseError.
        """
        for channel in self._delivering.due_channels():
            if channel in self._known or not self._own_only:
                self._work_on(channel)
        return False

    def stop(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Take no more messages, and wait `seconds` for each send in progress."""
        self._stopping.set()
        with self._lock:
            threads = list(self._threads.values())
        for thread in threads:
            thread.join(seconds)

    def wait(self) -> None:
        """Wait until every channel has sent or refused its due messages."""
        with self._lock:
            threads = list(self._threads.values())
        for thread in threads:
            thread.join()

    def _work_on(self, channel: str) -> None:
        with self._lock:
            running = self._threads.get(channel)
            if (running is not None and running.is_alive()) or self._stopping.is_set():
                return
            thread = threading.Thread(
                target=self._deliver, args=[channel], name=f"taskdb-alarm-{channel}", daemon=True
            )
            self._threads[channel] = thread
            thread.start()

    def _deliver(self, channel: str) -> None:
        way: WayOut | None = None
        try:
            while not self._stopping.is_set():
                one = self._delivering.take(channel, self._lease)
                if one is None:
                    return
                way = self._send(channel, one, way)
        except DatabaseError as error:
            log.warning("alarm.postponed", channel=channel, reason=str(error))
        except Exception:
            # The other channels continue; the unsent messages of this one become due again.
            log.exception("alarm.failed", channel=channel)
        finally:
            if way is not None:
                way.close()

    def _send(self, channel: str, one: Outgoing, way: WayOut | None) -> WayOut | None:
        """Send one message; returns the open channel for the next."""
        facts = {"channel": channel, "alarm_id": one.alarm_id, "attempt": one.attempt}
        try:
            way = way or self._opened(self._settings, channel)
            way.send(one.id, one.message)
        except (DeliveryFailed, TargetRefused) as error:
            after = error.retry_after if isinstance(error, DeliveryFailed) else None
            self._delivering.refused(one, error.reason, after=after)
            log.warning("alarm.delivery_failed", reason=error.reason, **facts)
        except Exception as error:  # noqa: BLE001 - any of a hundred libraries'
            # The text of a foreign error may contain secrets.
            self._delivering.refused(one, f"it broke ({type(error).__name__})")
            log.warning("alarm.delivery_failed", reason=type(error).__name__, **facts)
        else:
            self._delivering.sent(one)
            log.info("alarm.delivered", **facts)
        return way
