"""Alarms: the loops that find every failure, also if the process that saw it first has died."""

from __future__ import annotations

from datetime import timedelta

from taskdb.logger import get_logger
from taskdb.outgoing.folder import Folder
from taskdb.settings.settings import Settings
from taskdb.store.outgoing.alarm.condition import Limits
from taskdb.store.store import Store
from taskdb.store.upkeep import StoreUpkeep

log = get_logger("taskdb.alarm")


class Fold:
    """Creates alarms from the failures in the history, one batch in each pass."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._folder = Folder(settings, store)

    def run_once(self) -> bool:
        """Run one pass. Returns whether there may be more."""
        return self._folder.fold().is_full


class Watch:
    """Checks conditions that write no event: missed schedules, lost workers, queues, backlogs."""

    def __init__(self, settings: Settings, store: Store) -> None:
        limits = Limits(
            lease=timedelta(seconds=settings.worker_lease_seconds),
            unconsumed=timedelta(seconds=settings.alarm_unconsumed_seconds),
            backlog={
                name: timedelta(seconds=seconds)
                for name, seconds in settings.alarm_backlog_seconds.items()
            },
        )
        self._watching = StoreUpkeep(store).conditions(settings.alarm_rules, limits)

    def run_once(self) -> bool:
        """Check once. Returns False: there is never more to do at once."""
        seen = self._watching.watch()
        if seen.over:
            log.info("alarm.resolved", count=seen.over)
        return False


class PruneAlarms:
    """Deletes alarms that were resolved long ago, and messages that were sent long ago."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._keep = timedelta(days=settings.alarm_keep_days)
        self._alarms = store.alarms

    def run_once(self) -> bool:
        """Delete a batch. Returns whether there may be more."""
        count = self._alarms.prune(self._keep)
        if count:
            log.info("alarm.pruned", rows=count)
        return count > 0
