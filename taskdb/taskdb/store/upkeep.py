"""The parts of the store that a beat works with, and no submit and no run.

They are apart so that a client and a worker import none of them.
"""

from __future__ import annotations

from datetime import timedelta

from taskdb.model.alarm.route import AlarmRules
from taskdb.model.retention import Retention
from taskdb.redaction.redaction import Redaction
from taskdb.store.doctor.count import SystemCounts
from taskdb.store.doctor.statistics import Statistics
from taskdb.store.outgoing.alarm import condition
from taskdb.store.outgoing.alarm.delivery import Deliveries
from taskdb.store.outgoing.alarm.detection import Detection
from taskdb.store.retention.archive import Archive
from taskdb.store.retention.free_space import FreeSpace
from taskdb.store.retention.prune import PruneRounds
from taskdb.store.retention.sweep import Leftovers
from taskdb.store.store import Store


class StoreUpkeep:
    """Upkeep of one store."""

    def __init__(self, store: Store) -> None:
        self._database, self._aside, self._payloads = store.database, store.aside, store.payloads
        self.counts = SystemCounts(store.database)
        self.deliveries = Deliveries(store.database, store.aside)
        self.free_space = FreeSpace(store.database)

    # --- parts that a process makes with settings of its own ----------------------------------

    def conditions(self, rules: AlarmRules, limits: condition.Limits) -> condition.Conditions:
        """What raises an alarm without an event: backlogs, dead workers, missed schedules."""
        return condition.Conditions(self._database, self._aside, rules, limits)

    def detection(self, rules: AlarmRules, redaction: Redaction) -> Detection:
        """What makes alarms of the failures in the history."""
        return Detection(self._database, self._aside, rules, redaction)

    def prune_rounds(self, retention: Retention, archive: Archive | None = None) -> PruneRounds:
        """What deletes tasks that are old enough."""
        return PruneRounds(self._database, self._aside, self._payloads, retention, archive)

    def statistics(self, holder: str, lease: timedelta) -> Statistics:
        """What counts events for one process of several, of which one at a time reports."""
        return Statistics(self._database, holder, lease)

    def leftovers(self, longest: timedelta | None) -> Leftovers:
        """What removes what pruning and crashes leave behind; no task is kept past `longest`."""
        return Leftovers(self._database, self._aside, self._payloads, longest)
