"""The parts of the store that only beats use, and workers with channels of alarms.

They are in a module of their own, so that a client does not import them.
"""

from __future__ import annotations

from datetime import timedelta

from taskdb.model.alarm.route import AlarmRules
from taskdb.model.retention import Retention
from taskdb.redaction.redaction import Redaction
from taskdb.store.doctor.count import SystemCounts
from taskdb.store.doctor.statistics import Statistics
from taskdb.store.outgoing.alarm import condition
from taskdb.store.outgoing.alarm.detection import Detection
from taskdb.store.outgoing.delivery import Deliveries
from taskdb.store.retention.archive import Archive
from taskdb.store.retention.free_space import FreeSpace
from taskdb.store.retention.prune import PruneRounds
from taskdb.store.retention.sweep import Leftovers
from taskdb.store.store import Store


class StoreUpkeep:
    """The upkeep of one store."""

    def __init__(self, store: Store) -> None:
        self._database, self._aside, self._payloads = store.database, store.aside, store.payloads
        self.counts = SystemCounts(store.database)
        self.alarm_messages = Deliveries(store.database, store.aside, "alarm")
        self.notifications = Deliveries(store.database, store.aside, "subscription")
        self.free_space = FreeSpace(store.database)

    # --- parts that depend on the settings of the process -------------------------------------

    def conditions(self, rules: AlarmRules, limits: condition.Limits) -> condition.Conditions:
        """Return the part that raises alarms for backlogs, dead workers and missed schedules."""
        return condition.Conditions(self._database, self._aside, rules, limits)

    def detection(self, rules: AlarmRules, redaction: Redaction) -> Detection:
        """Return the part that makes alarms from the failures in the history."""
        return Detection(self._database, self._aside, rules, redaction)

    def prune_rounds(self, retention: Retention, archive: Archive | None = None) -> PruneRounds:
        """Return the part that deletes old tasks."""
        return PruneRounds(self._database, self._aside, self._payloads, retention, archive)

    def statistics(self, holder: str, lease: timedelta) -> Statistics:
        """Return the part that counts events. Of several processes one at a time reports them."""
        return Statistics(self._database, holder, lease)

    def leftovers(self, longest: timedelta | None) -> Leftovers:
        """Return the part that removes leftovers. `longest`: the age past which no task is kept."""
        return Leftovers(self._database, self._aside, self._payloads, longest)
