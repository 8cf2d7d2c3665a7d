"""Fires due schedules, and stores the declared ones when a beat starts.

Any number of beats may run: a firing is a row that only one transaction can write.
"""

from __future__ import annotations

import time

from taskdb.client.schedule.schedules import FIRE_BATCH
from taskdb.client.taskdb import TaskDB
from taskdb.logger import get_logger
from taskdb.store.engine.aside import is_of_a_row
from taskdb.store.schedule.fire import SCHEDULE
from taskdb.store.schedule.fire_pass import Fired
from taskdb_beat.schedule.declaration import Declaration

log = get_logger("taskdb.schedule")

LEAST_PAUSE_SECONDS = 0.2
"""The pause after a pass with nothing left: another transaction holds the schedules still due."""


class FireSchedules:
    """Creates the tasks of due schedules, a batch a pass."""

    def __init__(
        self, taskdb: TaskDB, *, batch: int = FIRE_BATCH, declaration: Declaration | None = None
    ) -> None:
        self._taskdb = taskdb
        self._batch = batch
        self._broken: dict[str, str] = {}
        self._declaration = declaration or Declaration(taskdb)

    def run_once(self) -> bool:
        """Fire one batch. Returns whether there may be more. Raises DatabaseError.

        The first pass that reaches the database declares limits, alarms and schedules. Schedules
        that are rows already fire even if that fails.
        """
        try:
            self._declaration.run_once()
        finally:
            is_full = self._fire()
        return is_full

    def _fire(self) -> bool:
        began = time.monotonic()
        fired = self._taskdb.schedules.fire(self._batch)
        if fired.task_ids:
            log.debug("schedule.fired", count=len(fired.task_ids))
        if fired.missed:
            log.warning("schedule.missed", count=fired.missed)
        self.tell_broken(fired)
        if not fired.is_full:
            self._taskdb.store.aside.over(SCHEDULE, time.monotonic() - began)
        return fired.is_full

    def tell_broken(self, fired: Fired) -> None:
        """Log schedules that failed to fire. They are retried, and each reason is logged once."""
        for schedule_id, reason in fired.broken.items():
            if self._broken.get(schedule_id) != reason:
                log.error("schedule.failed", schedule_id=schedule_id, reason=reason)
            self._broken[schedule_id] = reason

    def seconds_to_due(self) -> float:
        """Return how long a loop may sleep."""
        longest = self._taskdb.settings.schedule_interval_seconds
        try:
            left = self._taskdb.store.firings.seconds_to_due()
        except Exception as error:
            if not is_of_a_row(error):
                raise
            # The time of some schedule cannot be read. Its pass logs that.
            return longest
        return longest if left is None else min(max(left, LEAST_PAUSE_SECONDS), longest)
