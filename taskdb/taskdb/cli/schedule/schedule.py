"""`taskdb schedule …`: create, list, pause, resume and delete schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from taskdb.cli.id_option import IdOf
from taskdb.cli.output import Output
from taskdb.cli.schedule.presenter import REFUSED, RUN, SCHEDULE, next_text, when_text
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.task.json_option import read_json
from taskdb.cli.time_option import duration_of, from_now
from taskdb.cli.value_text import moment_text
from taskdb.model.entity import TaskEntity
from taskdb.model.schedule.schedule import Misfire, Overlap, Schedule, ScheduleEntity

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name or id of a schedule."),
    IdOf("taskdb_schedule", has_names=True),
]
Count = Annotated[int, typer.Option(help="The most to show, 1 to 1,000.")]
Cron = Annotated[str | None, typer.Option(help="Five fields, or a name such as @daily.")]
Every = Annotated[str | None, typer.Option(help="A duration of at least one second.")]
At = Annotated[str | None, typer.Option(help="Fire once: a moment, or a duration from now.")]
Zone = Annotated[str, typer.Option(help="IANA time zone of --cron.")]


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
    input: Annotated[str | None, typer.Option(help="Input: JSON, @FILE, or - for stdin.")] = None,
    queue: Annotated[str | None, typer.Option(help="Default: that of the type.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 9; 9 is first.")] = None,
    jitter: Annotated[str, typer.Option(help="The longest random delay.")] = "0",
    deadline: Annotated[
        str | None, typer.Option(help="A task not started within this time is FAILED.")
    ] = None,
    starts_at: Annotated[str | None, typer.Option(help="No due times before.")] = None,
    ends_at: Annotated[str | None, typer.Option(help="No due times after.")] = None,
    misfire: Annotated[Misfire, typer.Option(help="For missed due times.")] = Misfire.RUN_ONCE,
    misfire_grace: Annotated[str, typer.Option(help="How late it may fire.")] = "60",
    misfire_bound: Annotated[int, typer.Option(help="Most tasks of run_all.")] = 100,
    overlap: Annotated[Overlap, typer.Option(help="While a task is open.")] = Overlap.ALLOW,
    paused: Annotated[bool, typer.Option("--paused", help="Create it paused.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing one.")] = False,
    tenant: TenantOption = None,
) -> None:
    """Submit a task type repeatedly: by --cron, --every interval, or once --at a moment."""
    made = session.taskdb_of(tenant).schedules.create(
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
    _print_changed(session.output, made)


@with_session
def list_schedules(
    session: Session,
    *,
    origin: Annotated[
        str | None, typer.Option(help="Only of: person, code, settings, celery.")
    ] = None,
    tenant: TenantOption = None,
) -> None:
    """List schedules by tenant and name, and declared schedules that were refused.

    With --json, one on each line. Exit 0 also if some were refused.
    """
    taskdb = session.taskdb_of(tenant)
    found = taskdb.schedules.list(origin=origin)
    refused = [one for one in taskdb.schedules.refused() if origin in (None, one.origin)]
    if refused and not session.is_json:
        REFUSED.print_table(session.output, refused)
        session.output.line()
    SCHEDULE.print_all(session.output, found, "no schedule: create one with `taskdb schedule add`")
    if session.is_json:
        REFUSED.print_all(session.output, refused, "")


@with_session
def show(session: Session, name: Name, *, runs: Count = 10, tenant: TenantOption = None) -> None:
    """Show a schedule and the outcome of its last due times."""
    taskdb = session.taskdb_of(tenant)
    found = taskdb.schedules.get(name)
    last = taskdb.schedules.runs(found.id, limit=runs)
    if session.is_json:
        document = {**SCHEDULE.document(found), "runs": [RUN.document(one) for one in last]}
        session.output.document(document)
        return
    session.output.pairs(SCHEDULE.pairs(found))
    if last:
        session.output.line()
        RUN.print_table(session.output, last)


@with_session
def pause(session: Session, name: Name, *, tenant: TenantOption = None) -> None:
    """Do not fire a schedule until it is resumed."""
    _print_changed(session.output, session.taskdb_of(tenant).schedules.pause(name))


@with_session
def resume(session: Session, name: Name, *, tenant: TenantOption = None) -> None:
    """Fire a paused schedule again. Due times during the pause are skipped."""
    _print_changed(session.output, session.taskdb_of(tenant).schedules.resume(name))


@with_session
def run_now(session: Session, name: Name, *, tenant: TenantOption = None) -> None:
    """Submit a task of a schedule now. Its due times do not change."""
    made: TaskEntity = session.taskdb_of(tenant).schedules.run_now(name)
    document = {"id": made.id, "code": made.code, "status": made.status}
    session.output.result(document, f"{made.code}  {made.status}")


@with_session
def remove(session: Session, name: Name, *, tenant: TenantOption = None) -> None:
    """Delete a schedule. Its tasks are kept."""
    session.taskdb_of(tenant).schedules.remove(name)
    session.output.result({"removed": name}, f"removed {name}")


@with_session
def preview(
    session: Session,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Name or id."),
        IdOf("taskdb_schedule", has_names=True),
    ] = None,
    *,
    cron: Cron = None,
    every: Every = None,
    at: At = None,
    timezone: Zone = "UTC",
    count: Count = 10,
    tenant: TenantOption = None,
) -> None:
    """Show the next due times of a schedule, or of --cron, --every or --at."""
    taskdb = session.taskdb_of(tenant)
    if name is not None:
        found = taskdb.schedules.due_times(name, count=count)
    else:
        length = None if every is None else duration_of(every, "--every")
        one = Schedule(cron, every=length, at=_moment(at, "--at"), timezone=timezone)
        found = taskdb.schedules.preview(one, count=count)
    if session.is_json:
        session.output.document([due.isoformat() for due in found])
    for due in found:
        session.output.line(moment_text(due))


def _print_changed(output: Output, schedule: ScheduleEntity) -> None:
    words = f"{schedule.name}  {when_text(schedule)}  next: {next_text(schedule)}"
    output.result(SCHEDULE.document(schedule), words)


def _moment(given: str | None, option: str) -> datetime | None:
    return None if given is None else from_now(given, option)
