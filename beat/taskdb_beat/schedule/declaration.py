"""Declarations in code, settings and Celery's `beat_schedule`: stored once, when a beat starts."""

from __future__ import annotations

from collections.abc import Callable

from taskdb.client.taskdb import TaskDB
from taskdb.errors import DatabaseError, TaskDBError
from taskdb.logger import get_logger
from taskdb.store.schedule.schedule import Synced

log = get_logger("taskdb.schedule")

Step = Callable[[], None]


class Declaration:
    """Declares limits, alarms and schedules, each until it has succeeded once.

    Any number of processes may declare at the same time. `others` are further steps.
    """

    def __init__(self, taskdb: TaskDB, *others: Step) -> None:
        self._taskdb = taskdb
        self._steps: list[Step] = [self._limits, self._alarms, self._schedules, *others]

    def run_once(self) -> None:
        """Declare everything not declared yet. Raises DatabaseError; the next call continues.

        An error in a declaration itself is logged, and stops no other.
        """
        failure: DatabaseError | None = None
        reasons: set[str] = set()
        for step in list(self._steps):
            try:
                step()
            except DatabaseError as error:
                failure = error
                continue
            except TaskDBError as error:
                reasons.add(str(error))
            self._steps.remove(step)
        for reason in sorted(reasons):
            log.error("schedule.declaration_refused", reason=reason)
        if failure is not None:
            raise failure

    def _limits(self) -> None:
        if self._knows_types():
            self._taskdb.limits.declare()

    def _alarms(self) -> None:
        if self._knows_types():
            self._taskdb.alarms.declare()

    def _schedules(self) -> None:
        declared = self._taskdb.schedules.sync()
        tell(declared.code, "code")
        tell(declared.settings, "settings")

    def _knows_types(self) -> bool:
        """Whether there are types. Without them, this process does not know the declarations."""
        return len(self._taskdb.types.discover()) > 0


def tell(synced: Synced, origin: str) -> None:
    """Log the changes of a declaration."""
    changes = {"added": synced.added, "changed": synced.changed, "removed": synced.removed}
    if any(changes.values()):
        log.info("schedule.declared", origin=origin, **changes)
    for one in synced.refused:
        if one.name in synced.taken:
            log.warning("schedule.name_taken", origin=origin, name=one.name)
        else:
            log.error(
                "schedule.declaration_refused", origin=origin, name=one.name, reason=one.reason
            )
