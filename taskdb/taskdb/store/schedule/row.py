"""Rows of schedules: their columns, their first due time, and their changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, RowMapping, insert, select, update
from uuid_utils.compat import uuid7

from taskdb.model.duration import seconds_of
from taskdb.model.schedule.schedule import (
    Misfire,
    Origin,
    Overlap,
    RunOutcome,
    Schedule,
    ScheduleEntity,
    ScheduleRun,
)
from taskdb.store.engine.session import Row
from taskdb.store.engine.tables import schedule, schedule_run
from taskdb.store.engine.types import as_moment, moment

RUN_KEPT = timedelta(days=90)
"""How long a run is kept, so that it is not fired twice: far longer than a clock steps back."""
NEVER_YEAR = 9999
"""The year of a `next_due_at` that never comes."""
NEVER = datetime.fromisoformat("9999-01-01T00:00:00+00:00")
BY_HAND = "by hand"
"""The reason of a run that a person asked for, independent of the due times."""
_DECLARED_IDS = UUID("f2c6b9f0-6a52-4b0e-9a4e-5c1d3f0b7a11")
"""The namespace of the ids of declared schedules, which derive from tenant and name."""
_TIMETABLE = ("kind", "cron", "interval_seconds", "once_at", "timezone", "starts_at", "ends_at")


@dataclass(frozen=True, slots=True)
class Definition:
    """The definition of a schedule: when it recurs, and the task that it submits."""

    name: str
    tenant: str
    type: str
    input: Any
    schedule: Schedule
    origin: Origin = Origin.PERSON
    message: Mapping[str, Any] | None = None
    created_by: str | None = None

    def columns(self) -> dict[str, Any]:
        """The columns of this definition."""
        one = self.schedule
        return {
            "type": self.type,
            "input": self.input,
            "kind": one.kind,
            "cron": one.cron,
            "interval_seconds": seconds_of(one.every),
            "once_at": one.at,
            "timezone": one.timezone,
            "queue": one.queue,
            "priority": one.priority,
            "jitter_seconds": seconds_of(one.jitter),
            "deadline_seconds": seconds_of(one.deadline),
            "starts_at": one.starts_at,
            "ends_at": one.ends_at,
            "misfire": str(one.misfire),
            "misfire_grace_seconds": seconds_of(one.misfire_grace),
            "misfire_bound": one.misfire_bound,
            "overlap": str(one.overlap),
            "origin": str(self.origin),
            "message": self.message,
        }


def entity(row: RowMapping | Row) -> ScheduleEntity:
    """The schedule of a whole row."""
    coming = row["next_due_at"]
    is_coming = row["is_enabled"] and coming is not None and coming.year < NEVER_YEAR
    return ScheduleEntity(
        id=str(row["id"]),
        name=row["name"],
        tenant=row["tenant"],
        type=row["type"],
        input=row["input"],
        kind=row["kind"],
        cron=row["cron"],
        every=_duration(row["interval_seconds"]),
        at=row["once_at"],
        timezone=row["timezone"],
        queue=row["queue"],
        priority=row["priority"],
        jitter=timedelta(seconds=row["jitter_seconds"]),
        deadline=_duration(row["deadline_seconds"]),
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        is_enabled=bool(row["is_enabled"]),
        misfire=Misfire(row["misfire"]),
        misfire_grace=timedelta(seconds=row["misfire_grace_seconds"]),
        misfire_bound=row["misfire_bound"],
        overlap=Overlap(row["overlap"]),
        origin=Origin(row["origin"]),
        message=row["message"],
        next_due_at=coming if is_coming else None,
        last_due_at=row["last_due_at"],
        last_task_id=row["last_task_id"],
        last_error=row["last_error"],
        created_by=row["created_by"],
        created_at=moment(row["created_at"]),
        updated_at=moment(row["updated_at"]),
        version=row["version"],
    )


def run_of(row: RowMapping) -> ScheduleRun:
    return ScheduleRun(
        due_at=moment(row["due_at"]),
        outcome=RunOutcome(row["outcome"]),
        task_id=row["task_id"],
        reason=row["reason"],
        number=row["number"],
        last_due_at=as_moment(row["last_due_at"]),
        at=moment(row["at"]),
    )


def insert_schedule(connection: Connection, one: Definition, now: datetime) -> str:
    is_declared = one.origin is not Origin.PERSON
    # A schedule that is removed and declared again keeps its id, and so its runs.
    schedule_id = str(_declared_id(one) if is_declared else uuid7())
    coming = one.schedule.timetable(now).first(now)
    if is_declared and _is_spent(connection, one, schedule_id, now):
        coming = None
    values = {
        "id": schedule_id,
        "name": one.name,
        "tenant": one.tenant,
        "is_enabled": one.schedule.is_enabled,
        "next_due_at": coming or NEVER,
        "created_by": one.created_by,
        "created_at": now,
        "updated_at": now,
        **one.columns(),
    }
    connection.execute(insert(schedule).values(values))
    return schedule_id


def _declared_id(one: Definition) -> UUID:
    return uuid5(_DECLARED_IDS, json.dumps([one.tenant, one.name]))


def _is_spent(connection: Connection, one: Definition, schedule_id: str, now: datetime) -> bool:
    """Whether a schedule for one moment has fired, or is too old to know.

    Runs by hand do not count.
    """
    at = one.schedule.at
    if at is None or at > now:
        return False
    # The sweep may have deleted a run of that age.
    if at < now - RUN_KEPT:
        return True
    fired = select(schedule_run.c.due_at).where(
        schedule_run.c.schedule_id == schedule_id,
        schedule_run.c.outcome == RunOutcome.FIRED,
        schedule_run.c.reason.is_distinct_from(BY_HAND),
    )
    return connection.execute(fired.limit(1)).first() is not None


def change_schedule(
    connection: Connection, found: RowMapping, one: Definition, now: datetime
) -> bool:
    """Write a definition over a row. Returns whether the row has changed."""
    values = one.columns()
    if all(found[name] == value for name, value in values.items()):
        return False
    changes = {**values, "updated_at": now, "version": found["version"] + 1}
    changes |= {"last_error": None, "retry_at": None}
    if any(found[name] != values[name] for name in _TIMETABLE):
        anchor = moment(found["created_at"])
        coming = one.schedule.timetable(anchor).first(now)
        if one.origin is not Origin.PERSON and _is_spent(connection, one, found["id"], now):
            coming = None
        changes["next_due_at"] = coming or NEVER
    write_schedule(connection, found["id"], **changes)
    return True


def write_schedule(connection: Connection, schedule_id: str, **values: Any) -> None:
    connection.execute(update(schedule).where(schedule.c.id == schedule_id).values(values))


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
