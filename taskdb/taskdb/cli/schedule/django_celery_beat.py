"""`taskdb import django-celery-beat`: the schedules of another database, read once.

Also known as `taskdb schedule import-django-celery-beat`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from sqlalchemy import text

from taskdb.celery.entry_options import task_options
from taskdb.celery.recurrence import crontab_of, when
from taskdb.cli.database.other_database import OtherUrl, moment_of, other_database
from taskdb.cli.document import document_of
from taskdb.cli.exit_code import ExitCode
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.client.taskdb import TaskDB
from taskdb.errors import Fault, InvalidInput, TaskDBError
from taskdb.model.schedule.schedule import SUBJECT, Schedule
from taskdb.redaction.printable import printable

_TABLE = "django_celery_beat_periodictask"
_UNITS = {"days", "hours", "minutes", "seconds", "microseconds"}
_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_JOINED = """
SELECT task.*, cron.minute, cron.hour, cron.day_of_month, cron.month_of_year, cron.day_of_week,
    cron.timezone, span.every, span.period, clock.clocked_time
FROM django_celery_beat_periodictask AS task
LEFT JOIN django_celery_beat_crontabschedule AS cron ON cron.id = task.crontab_id
LEFT JOIN django_celery_beat_intervalschedule AS span ON span.id = task.interval_id
LEFT JOIN django_celery_beat_clockedschedule AS clock ON clock.id = task.clocked_id
ORDER BY task.name
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """The result for one schedule. Without a `reason`, it was imported."""

    name: str
    type: str
    reason: str | None = None
    note: str = ""


@with_session
def import_schedules(
    session: Session,
    url: OtherUrl,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace existing ones.")] = False,
    tenant: TenantOption = None,
) -> int:
    """Import the schedules of django-celery-beat. Its tables are not changed.

    Prints the reason for each schedule that cannot be imported, and then exits 1. Afterwards
    disable the schedules there, or both copies will fire.
    """
    taskdb = session.taskdb_of(tenant)
    found = [_imported(taskdb, row, dry_run=dry_run, replace=replace) for row in read_rows(url)]
    for one in found:
        if session.is_json:
            session.output.document(document_of(one))
    done = "could be imported" if dry_run else "imported"
    rows = [(one.name, one.type, one.reason or f"{done}{one.note}") for one in found]
    if rows:
        session.output.table(("NAME", "TYPE", "RESULT"), rows)
    else:
        session.output.note("there is no periodic task")
    return ExitCode.FAILED if any(one.reason is not None for one in found) else ExitCode.OK


def read_rows(url: str) -> list[Mapping[str, Any]]:
    """Every periodic task with its crontab, interval or clock.

    Raises InvalidInput for a database without its tables, and DatabaseUnreachable.
    """
    with other_database(url, _TABLE) as (connection, _):
        return [dict(row) for row in connection.execute(text(_JOINED)).mappings()]


def _imported(taskdb: TaskDB, row: Mapping[str, Any], *, dry_run: bool, replace: bool) -> Imported:
    name, type_name = str(row["name"]), str(row["task"])
    try:
        options, note = _options(taskdb, row)
        value = _input(row)
        # Raises for every schedule that would be refused, also in a dry run.
        taskdb.schedules.check(name, type_name, value, **options)
        if "at" in options and replace and _has_run_here(taskdb, name):
            return Imported(name, type_name, note=", and not changed: it ran here already")
        if not dry_run:
            taskdb.schedules.create(name, type_name, value, replace=replace, **options)
    # The last three: numbers and moments of a row that no calendar has.
    except (TaskDBError, ValueError, TypeError, OverflowError) as error:
        return Imported(name, type_name, printable(str(error)))
    return Imported(name, type_name, note=note)


def _options(taskdb: TaskDB, row: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The options of the schedule, and a note on it."""
    options: dict[str, Any] = {
        "is_enabled": bool(row["enabled"]),
        "starts_at": moment_of(row.get("start_time")),
        "ends_at": moment_of(row.get("expires")),
        **task_options(_message_options(row)),
    }
    options |= _when(row, options["starts_at"])
    if not row.get("one_off") and "at" not in options:
        return options, ""
    if "at" not in options:
        options = _only_next(taskdb, options)
    if not row.get("total_run_count"):
        return options, ""
    # Its beat would disable it at its next look.
    return options | {"is_enabled": False}, ", paused: it ran there already"


def _message_options(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: row.get(name) for name in ("queue", "priority", "exchange", "routing_key")},
        # A moment of expiry ends the schedule, and is read there.
        "expires": None if row.get("expires") is not None else row.get("expire_seconds"),
        "headers": _json(row, "headers", "{}"),
    }


def _only_next(taskdb: TaskDB, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a one-off schedule at the next due time. Raises InvalidInput if there is none."""
    recurring = {"cron", "every", "timezone", "misfire", "misfire_grace"}
    one = Schedule(**{key: options[key] for key in ("cron", "every", "timezone", "starts_at",
        "ends_at") if key in options})  # fmt: skip
    coming = taskdb.schedules.preview(one, count=1)
    if not coming:
        raise InvalidInput(SUBJECT, [Fault("expires", "it has passed: it is never due again")])
    rest = {key: value for key, value in options.items() if key not in recurring}
    return rest | {"at": coming[0]}


def _when(row: Mapping[str, Any], starts_at: datetime | None) -> dict[str, Any]:
    if row["crontab_id"] is not None:
        fields = {name: str(row[name]) for name in _FIELDS}
        return when(crontab_of(fields), str(row["timezone"]))
    if row["interval_id"] is not None and row["period"] in _UNITS:
        every = timedelta(**{row["period"]: row["every"]})
        last = moment_of(row.get("last_run_at"))
        if last is None or every <= timedelta(0):
            return {"every": every}
        coming = last + every
        return {
            "every": every,
            "starts_at": coming if starts_at is None else max(coming, starts_at),
        }
    if row["clocked_id"] is not None:
        return {"at": moment_of(row["clocked_time"])}
    advice = "solar schedules are not supported: pass a crontab or an interval"
    raise InvalidInput(SUBJECT, [Fault("", advice)])


def _has_run_here(taskdb: TaskDB, name: str) -> bool:
    found = [one for one in taskdb.schedules.list() if one.name == name]
    return any(one.at is not None and one.last_due_at is not None for one in found)


def _json(row: Mapping[str, Any], name: str, default: str) -> Any:
    try:
        return json.loads(row.get(name) or default)
    except ValueError as error:
        raise InvalidInput(SUBJECT, [Fault(name, f"is not JSON: {error}")]) from None


def _input(row: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments, which are the fields of the input."""
    arguments, keywords = _json(row, "args", "[]"), _json(row, "kwargs", "{}")
    if arguments:
        advice = "positional arguments have no names: pass keyword arguments"
        raise InvalidInput(SUBJECT, [Fault("args", advice)])
    if not isinstance(keywords, dict):
        advice = f"keyword arguments are a {type(keywords).__name__}: pass a JSON object"
        raise InvalidInput(SUBJECT, [Fault("kwargs", advice)])
    return dict(keywords)
