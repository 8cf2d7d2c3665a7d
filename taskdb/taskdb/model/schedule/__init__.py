"""Schedules as values: the declaration, the row, and its runs."""

from taskdb.model.schedule.schedule import (
    Misfire,
    Origin,
    Overlap,
    Schedule,
    ScheduleEntity,
    ScheduleRun,
)

__all__ = ["Misfire", "Origin", "Overlap", "Schedule", "ScheduleEntity", "ScheduleRun"]
