"""`taskdb import django-celery-beat`: the schedules of another database, read once.

Also known as `taskdb schedule import-django-celery-beat`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import typer
from sqlalchemy import text

from taskdb.cli.exit_code import ExitCode
from taskdb.cli.other_database import OtherUrl, moment_of, other_database
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.wording import printable
from taskdb.client import TaskDB
from taskdb.errors import Fault, InvalidInput, TaskDBError
from taskdb.schedule import SUBJECT, Schedule

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
    """What became of one of them; without a reason it was imported."""

    name: str
    type: str
    reason: str | None = None
    note: str = ""


@with_session
def import_django_celery_beat(
    session: Session,
    url: OtherUrl,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Change those of a name.")] = False,
    tenant: TenantOption = None,
) -> int:
    """Make schedules of those of django-celery-beat, whose tables stay as they are.

    Exit 1 where some cannot be imported; the reason stands beside each. Disable them there once
    they are here, or both will run.
    """
    taskdb = session.taskdb_of(tenant)
    found = [_imported(taskdb, row, dry_run=dry_run, replace=replace) for row in read_rows(url)]
    for one in found:
        if session.is_json:
            session.output.document(
                {"name": one.name, "type": one.type, "reason": one.reason, "note": one.note}
            )
    done = "could be imported" if dry_run else "imported"
    rows = [(one.name, one.type, one.reason or f"{done}{one.note}") for one in found]
    if rows:
        session.output.table(("NAME", "TYPE", "RESULT"), rows)
    else:
        session.output.note("there is no periodic task")
    return ExitCode.FAILED if any(one.reason is not None for one in found) else ExitCode.OK


def read_rows(url: str) -> list[Mapping[str, Any]]:
    """Every periodic task with its crontab, interval or clock.

    Raises InvalidInput for what is no database of django-celery-beat, DatabaseUnreachable.
    """
    with other_database(url, _TABLE) as (connection, _):
        return [dict(row) for row in connection.execute(text(_JOINED)).mappings()]


def _imported(taskdb: TaskDB, row: Mapping[str, Any], *, dry_run: bool, replace: bool) -> Imported:
    name, type_name = str(row["name"]), str(row["task"])
    try:
        options = _options(taskdb, row)
        value = _input(row)
        # Raises for whatever would be refused, also where nothing is to be written.
        taskdb.check_schedule(name, type_name, value, **options)
        if not dry_run:
            taskdb.add_schedule(name, type_name, value, replace=replace, **options)
    except TaskDBError as error:
        return Imported(name, type_name, printable(str(error)))
    has_expiry = row["expire_seconds"] is not None
    return Imported(name, type_name, note=", without expire_seconds" if has_expiry else "")


def _options(taskdb: TaskDB, row: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "queue": row["queue"] or None,
        "priority": row["priority"],
        "is_enabled": bool(row["enabled"]),
        "starts_at": moment_of(row["start_time"]),
        "ends_at": moment_of(row["expires"]),
        **_when(row),
    }
    if row["one_off"] and "at" not in options:
        kept = ("cron", "every", "timezone", "starts_at")
        one = Schedule(**{key: options[key] for key in kept if key in options})
        options = {key: value for key, value in options.items() if key not in kept}
        options["at"] = taskdb.preview(one, count=1)[0]
    return options


def _when(row: Mapping[str, Any]) -> dict[str, Any]:
    if row["crontab_id"] is not None:
        fields = [str(row[name]).replace(" ", "") for name in _FIELDS]
        return {"cron": " ".join(fields), "timezone": str(row["timezone"])}
    if row["interval_id"] is not None and row["period"] in _UNITS:
        return {"every": timedelta(**{row["period"]: row["every"]})}
    if row["clocked_id"] is not None:
        return {"at": moment_of(row["clocked_time"])}
    advice = "solar schedules are not supported: give a crontab or an interval"
    raise InvalidInput(SUBJECT, [Fault("", advice)])


def _input(row: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments, which are the fields of the input."""
    try:
        arguments, keywords = json.loads(row["args"] or "[]"), json.loads(row["kwargs"] or "{}")
    except ValueError as error:
        raise InvalidInput(SUBJECT, [Fault("kwargs", f"are not JSON: {error}")]) from None
    if arguments:
        advice = "positional arguments have no names: give keyword arguments"
        raise InvalidInput(SUBJECT, [Fault("args", advice)])
    return dict(keywords)
