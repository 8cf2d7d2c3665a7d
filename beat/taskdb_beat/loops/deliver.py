"""Sends messages of alarms to channels, and notifications to subscriptions."""

from __future__ import annotations

from taskdb.outgoing.deliverer import alarm_deliverer, notification_deliverer
from taskdb.settings.settings import Settings
from taskdb.store.store import Store


class Deliver:
    """Gives every due target its turn. `close` ends it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._deliverers = (
            alarm_deliverer(settings, store),
            notification_deliverer(settings, store),
        )

    def run_once(self) -> bool:
        """Hand due targets to threads, without waiting. Raises DatabaseError. Returns False."""
        for deliverer in self._deliverers:
            deliverer.run_once()
        return False

    def settle(self, seconds: float) -> bool:
        """Wait until every turn is over, after `run_once` by hand. Returns False if not in time."""
        return all(deliverer.settle(seconds) for deliverer in self._deliverers)

    def close(self) -> None:
        """End after the current sends, and write their progress."""
        for deliverer in self._deliverers:
            deliverer.close()
