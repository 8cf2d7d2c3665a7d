"""The due times of a schedule that fire now, the missed ones, and the next one.

They depend only on the row and the time, so that every beat decides the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from taskdb.model.schedule.schedule import BOUND_LIMIT, Misfire, ScheduleEntity


@dataclass(frozen=True, slots=True)
class Missed:
    """Due times that are skipped."""

    first: datetime
    last: datetime
    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Due:
    """The decision of a beat: fire `fire`, record `missed`, look again at `next`."""

    fire: tuple[datetime, ...]
    missed: Missed | None
    next: datetime | None


def due_now(schedule: ScheduleEntity, first: datetime, now: datetime) -> Due:
    """Decide about every due time from `first` (not later than `now`) to now."""
    table = schedule.timetable
    cutoff = now - schedule.misfire_grace
    begin = max(first, cutoff)
    on_time: list[datetime] = []
    after = None
    for due in table.behind(begin - timedelta(milliseconds=1)):
        if due > now or len(on_time) == BOUND_LIMIT:
            after = due
            break
        if due >= begin:
            on_time.append(due)
    if first >= cutoff:
        return Due(tuple(on_time), None, after)
    late, missed = _misfires(schedule, first, cutoff, has_on_time=bool(on_time))
    return Due((*late, *on_time), missed, after)


def _misfires(
    schedule: ScheduleEntity, first: datetime, cutoff: datetime, *, has_on_time: bool
) -> tuple[list[datetime], Missed | None]:
    table = schedule.timetable
    wanted = {
        Misfire.SKIP: 0,
        # A due time of this moment is the one run for all.
        Misfire.RUN_ONCE: 0 if has_on_time else 1,
        Misfire.RUN_ALL: schedule.misfire_bound,
    }[schedule.misfire]
    late = table.latest(first, cutoff, wanted)
    before = late[0] if late else cutoff
    left = table.latest(first, before, 1)
    if not left:
        return late, None
    reason = f"no beat ran within {schedule.misfire_grace}; misfire policy {schedule.misfire}"
    return late, Missed(first, left[-1], table.count(first, before), reason)
