"""Settings of schedules."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from taskdb.settings.value import JsonObjects, checked


def _check_names(schedules: tuple[dict[str, Any], ...]) -> None:
    names = [one.get("name") for one in schedules]
    if not all(isinstance(one.get("type"), str) and one.get("name") for one in schedules):
        raise ValueError("each schedule needs its name and type")
    if len(set(names)) < len(names):
        raise ValueError("two schedules have the same name")


class ScheduleSettings(BaseModel, defer_build=True):
    """Declared schedules, and how often beat looks for due ones."""

    schedules: Annotated[JsonObjects, checked(_check_names), Field(repr=False, exclude=True)] = ()
    """Schedules as a JSON list of objects: `name`, `type` and the options of `Schedule`, durations
    in seconds and moments as ISO text."""
    schedule_interval_seconds: Annotated[float, Field(gt=0, le=5)] = 1.0
    """Longest pause between two passes that fire due schedules."""
