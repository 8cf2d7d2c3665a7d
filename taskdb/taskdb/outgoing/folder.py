"""Runs a pass over the history that raises alarms, and logs its result."""

from __future__ import annotations

from taskdb.logger import get_logger
from taskdb.settings.settings import Settings
from taskdb.store.outgoing.alarm.detection import Folded
from taskdb.store.store import Store
from taskdb.store.upkeep import StoreUpkeep

log = get_logger("taskdb.alarm")


class Folder:
    """Makes alarms from failures, and messages from alarms."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._detection = StoreUpkeep(store).detection(settings.alarm_rules, settings.redaction)

    def fold(self) -> Folded:
        """Run one pass; raises DatabaseError."""
        done = self._detection.fold()
        if done.messages:
            log.warning("alarm.raised", messages=done.messages)
        for alarm_id in done.unrouted:
            log.warning("alarm.unrouted", alarm_id=alarm_id)
        return done
