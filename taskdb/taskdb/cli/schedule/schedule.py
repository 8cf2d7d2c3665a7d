"""`taskdb schedule …`: make schedules, look at them, pause and resume them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.output import Output
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.task.given_input import read_json
from taskdb.cli.time_option import duration_of, from_now
from taskdb.cli.value_text import moment_text, payload_text, setting_text
from taskdb.model.duration import duration_text, utc_text
from taskdb.model.entity import TaskEntity
from taskdb.model.schedule.schedule import (
    Misfire,
    Overlap,
    RefusedSchedule,
    Schedule,
    ScheduleEntity,
    ScheduleRun,
)
from taskdb.redaction.printable import printable

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of a schedule.")]
Count = Annotated[int, typer.Option(help="How many, 1 to 1,000.")]
Cron = Annotated[str | None, typer.Option(help="Five fields, or @daily and the like.")]
Every = Annotated[str | None, typer.Option(help="A duration of a second or more.")]
At = Annotated[str | None, typer.Option(help="Once: a moment, or a duration from now.")]
Zone = Annotated[str, typer.Option(help="IANA time zone in which cron is read.")]


@with_session
def add(  # noqa: PLR0913 - the options of a schedule, all by name
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique in its tenant.")],
    type: Annotated[str, typer.Argument(metavar="TYPE", help="A task type.")],
    *,
    cron: Cron = None,
    every: Every = None,
    at: At = None,
    timezone: Zone = "UTC",
    input: Annotated[str | None, typer.Option(help="JSON, @FILE, or - for stdin.")] = None,
    queue: Annotated[str | None, typer.Option(help="Instead of the type's.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 9, 9 first.")] = None,
    jitter: Annotated[str, typer.Option(help="Delay each task by up to so much.")] = "0",
    deadline: Annotated[
        str | None, typer.Option(help="FAILED if no worker took a task within so long.")
    ] = None,
    starts_at: Annotated[str | None, typer.Option(help="Nothing is due before.")] = None,
    ends_at: Annotated[str | None, typer.Option(help="Nothing is due after.")] = None,
    misfire: Annotated[Misfire, typer.Option(help="For what no beat came to.")] = Misfire.RUN_ONCE,
    misfire_grace: Annotated[str, typer.Option(help="Older is a misfire.")] = "60",
    misfire_bound: Annotated[int, typer.Option(help="The most of run_all.")] = 100,
    overlap: Annotated[Overlap, typer.Option(help="While the last is not over.")] = Overlap.ALLOW,
    paused: Annotated[bool, typer.Option("--paused", help="Make it paused.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Change one of this name.")] = False,
    tenant: TenantOption = None,
) -> int:
    """Submit a task type again and again: by --cron, --every so long, or once --at a moment."""
    made = session.taskdb_of(tenant).add_schedule(
        name,
        type,
        None if input is None else read_json(input, "--input"),
        replace=replace,
        cron=cron,
        every=None if every is None else duration_of(every, "--every"),
        at=_moment(at, "--at"),
        timezone=timezone,
        queue=queue,
        priority=priority,
        jitter=duration_of(jitter, "--jitter"),
        deadline=None if deadline is None else duration_of(deadline, "--deadline"),
        starts_at=_moment(starts_at, "--starts-at"),
        ends_at=_moment(ends_at, "--ends-at"),
        misfire=misfire,
        misfire_grace=duration_of(misfire_grace, "--misfire-grace"),
        misfire_bound=misfire_bound,
        overlap=overlap,
        is_enabled=not paused,
    )
    return _told(session.output, made)


@with_session
def list_schedules(
    session: Session,
    *,
    origin: Annotated[
        str | None, typer.Option(help="Only those of: person, code, settings, celery.")
    ] = None,
    tenant: TenantOption = None,
) -> int:
    """List schedules by tenant and name, and declared ones that were refused; --json: one a line.

    Exit 0 also where some were refused.
    """
    taskdb = session.taskdb_of(tenant)
    found = taskdb.list_schedules(origin=origin)
    refused = [one for one in taskdb.refused_schedules() if origin in (None, one.origin)]
    if session.is_json:
        for one in found:
            session.output.document(schedule_json(one))
        for wrong in refused:
            session.output.document(_refused_json(wrong))
        return ExitCode.OK
    if refused:
        shown = [(one.name, one.type, one.origin.value, printable(one.reason)) for one in refused]
        session.output.table(("REFUSED", "TYPE", "FROM", "REASON"), shown)
        session.output.line()
    if not found:
        session.output.note("no schedule: make one with `taskdb schedule add`")
        return ExitCode.OK
    rows = [
        (one.name, one.tenant or "-", one.type, when_text(one), next_text(one), one.origin.value)
        for one in found
    ]
    session.output.table(("NAME", "TENANT", "TYPE", "WHEN", "NEXT", "FROM"), rows)
    return ExitCode.OK


@with_session
def show(session: Session, name: Name, *, runs: Count = 10, tenant: TenantOption = None) -> int:
    """Show a schedule and what became of its last due times."""
    taskdb = session.taskdb_of(tenant)
    found = taskdb.get_schedule(name)
    last = taskdb.schedule_runs(found.id, limit=runs)
    if session.is_json:
        session.output.document({**schedule_json(found), "runs": [_run_json(one) for one in last]})
        return ExitCode.OK
    session.output.pairs(_pairs(found))
    if last:
        session.output.line()
        session.output.table(("DUE", "OUTCOME", "TASK", "REASON"), [_run_row(one) for one in last])
    return ExitCode.OK


@with_session
def pause(session: Session, name: Name, *, tenant: TenantOption = None) -> int:
    """Let a schedule fire no more until it is resumed."""
    return _told(session.output, session.taskdb_of(tenant).pause_schedule(name))


@with_session
def resume(session: Session, name: Name, *, tenant: TenantOption = None) -> int:
    """Let a schedule fire again, from now on: what was due meanwhile is left out."""
    return _told(session.output, session.taskdb_of(tenant).resume_schedule(name))


@with_session
def run_now(session: Session, name: Name, *, tenant: TenantOption = None) -> int:
    """Make a task of a schedule at once; its due times stay as they are."""
    made: TaskEntity = session.taskdb_of(tenant).run_schedule_now(name)
    if session.is_json:
        session.output.document({"id": made.id, "code": made.code, "status": made.status})
    else:
        session.output.line(f"{made.code}  {made.status}")
    return ExitCode.OK


@with_session
def remove(session: Session, name: Name, *, tenant: TenantOption = None) -> int:
    """Delete a schedule; its tasks stay."""
    session.taskdb_of(tenant).remove_schedule(name)
    if session.is_json:
        session.output.document({"removed": name})
    else:
        session.output.line(f"removed {printable(name)}")
    return ExitCode.OK


@with_session
def preview(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A schedule.")] = None,
    *,
    cron: Cron = None,
    every: Every = None,
    at: At = None,
    timezone: Zone = "UTC",
    count: Count = 10,
    tenant: TenantOption = None,
) -> int:
    """Show the next due times of a schedule, or of one that is not made yet."""
    taskdb = session.taskdb_of(tenant)
    if name is not None:
        found = taskdb.preview_schedule(name, count=count)
    else:
        length = None if every is None else duration_of(every, "--every")
        one = Schedule(cron, every=length, at=_moment(at, "--at"), timezone=timezone)
        found = taskdb.preview(one, count=count)
    if session.is_json:
        session.output.document([due.isoformat() for due in found])
    for due in found:
        session.output.line(moment_text(due))
    return ExitCode.OK


def schedule_json(one: ScheduleEntity) -> dict[str, Any]:
    """A schedule as data: durations in seconds, moments as ISO text."""
    values = asdict(one)
    for name in ("every", "jitter", "deadline", "misfire_grace"):
        length = values.pop(name)
        values[f"{name}_seconds"] = None if length is None else length.total_seconds()
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def _refused_json(one: RefusedSchedule) -> dict[str, Any]:
    """A declaration that was refused; `refused` says why, and no schedule has that member."""
    return {
        "name": one.name,
        "type": one.type,
        "origin": one.origin.value,
        "refused": one.reason,
        "at": None if one.at is None else one.at.isoformat(),
    }


def when_text(one: ScheduleEntity) -> str:
    """How it recurs, in one line."""
    if one.cron is not None:
        return one.cron if one.timezone == "UTC" else f"{one.cron} ({one.timezone})"
    if one.every is not None:
        return f"every {duration_text(one.every)}"
    return f"once {utc_text(one.at)}" if one.at else "-"


def next_text(one: ScheduleEntity) -> str:
    """When it is due next, or why it is not."""
    if not one.is_enabled:
        return "paused"
    if one.last_error is not None:
        return "broken: see `taskdb schedule show`"
    return "over" if one.next_due_at is None else moment_text(one.next_due_at)


def _told(output: Output, one: ScheduleEntity) -> int:
    if output.is_json:
        output.document(schedule_json(one))
    else:
        output.line(f"{printable(one.name)}  {when_text(one)}  next: {next_text(one)}")
    return ExitCode.OK


def _pairs(one: ScheduleEntity) -> list[tuple[str, str]]:
    shown = [
        ("name", one.name),
        ("id", one.id),
        ("tenant", setting_text(one.tenant)),
        ("type", one.type),
        ("when", when_text(one)),
        ("next", next_text(one)),
        ("last", "-" if one.last_due_at is None else moment_text(one.last_due_at)),
        ("from", one.origin.value),
        ("misfire", f"{one.misfire.value} after {duration_text(one.misfire_grace)}"),
        ("overlap", one.overlap.value),
        ("jitter", setting_text(one.jitter)),
        ("deadline", setting_text(one.deadline)),
        ("queue", setting_text(one.queue)),
        ("input", payload_text(one.input)),
    ]
    error = [] if one.last_error is None else [("error", one.last_error)]
    return [(name, printable(value)) for name, value in [*shown, *error]]


def _run_row(one: ScheduleRun) -> Sequence[str]:
    outcome = one.outcome.value if one.number == 1 else f"{one.outcome.value} ({one.number:,})"
    return (moment_text(one.due_at), outcome, one.task_id or "-", one.reason or "-")


def _run_json(one: ScheduleRun) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(one).items()
    }


def _moment(given: str | None, option: str) -> datetime | None:
    return None if given is None else from_now(given, option)
