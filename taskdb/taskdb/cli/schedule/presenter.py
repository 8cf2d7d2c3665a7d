"""Presenters of schedules, their due times and refused declarations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from taskdb.cli.document import document_of
from taskdb.cli.output import json_text
from taskdb.cli.presenter import Field, Presenter, column
from taskdb.cli.value_text import moment_text
from taskdb.model.duration import duration_text, utc_text
from taskdb.model.schedule.schedule import RefusedSchedule, ScheduleEntity, ScheduleRun


def when_text(schedule: ScheduleEntity) -> str | None:
    """Return the recurrence of a schedule, in one line."""
    if schedule.cron is not None:
        zone = "" if schedule.timezone == "UTC" else f" ({schedule.timezone})"
        return f"{schedule.cron}{zone}"
    if schedule.every is not None:
        return f"every {duration_text(schedule.every)}"
    return f"at {utc_text(schedule.at)}" if schedule.at else None


def next_text(schedule: ScheduleEntity, spell: Callable[[datetime], str] = moment_text) -> str:
    """Return the next due time of a schedule, or the reason why it has none."""
    if not schedule.is_enabled:
        return "paused"
    if schedule.last_error is not None:
        return "failed: see `taskdb schedule show`"
    return "over" if schedule.next_due_at is None else spell(schedule.next_due_at)


def _next_cell(schedule: ScheduleEntity) -> str:
    return next_text(schedule, lambda due: f"{due.astimezone():%Y-%m-%d %H:%M}")


def _outcome(run: ScheduleRun) -> str:
    return run.outcome.value if run.number == 1 else f"{run.outcome.value} ({run.number:,})"


SCHEDULE = Presenter[ScheduleEntity](
    Field("name", column="NAME"),
    Field("id"),
    Field("tenant", lambda schedule: schedule.tenant or None, column="TENANT"),
    Field("type", column="TYPE"),
    Field("when", when_text, column="WHEN"),
    Field("next", next_text, column="NEXT", cell=_next_cell),
    Field("last", lambda schedule: schedule.last_due_at),
    Field("from", lambda schedule: schedule.origin, column="FROM"),
    Field(
        "misfire",
        lambda schedule: f"{schedule.misfire} after {duration_text(schedule.misfire_grace)}",
    ),
    Field("overlap"),
    Field("jitter", lambda schedule: schedule.jitter or None),
    Field("deadline"),
    Field("queue"),
    Field("input", lambda schedule: json_text(schedule.input)),
    Field("error", lambda schedule: schedule.last_error),
    document=lambda schedule: document_of(
        schedule, seconds=("every", "jitter", "deadline", "misfire_grace")
    ),
)

RUN = Presenter[ScheduleRun](
    column("DUE", lambda run: run.due_at),
    column("OUTCOME", _outcome),
    column("TASK", lambda run: run.task_id),
    column("REASON", lambda run: run.reason),
)

REFUSED = Presenter[RefusedSchedule](
    column("REFUSED", lambda refused: refused.name),
    column("TYPE", lambda refused: refused.type),
    column("FROM", lambda refused: refused.origin),
    column("REASON", lambda refused: refused.reason),
    # No schedule has the key `refused`.
    document=lambda refused: {
        **document_of(refused, without=("reason",)),
        "refused": refused.reason,
    },
)
