"""`celery -A … beat -S taskdb_beat:DatabaseScheduler`: Celery's own command over our rows.

Celery keeps a heap of entries in memory and remembers in a file when each ran last; here a due
entry is a row, so any number of beats may run, and one that starts finds what it must make up for.
"""

# Celery's base class has no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog
from celery.beat import Scheduler
from celery.schedules import crontab, schedule

from taskdb.celery.unreachable import is_unreachable
from taskdb.client import TaskDB
from taskdb.errors import BrokerUnreachable, DatabaseError, Fault, InvalidInput, TaskDBError
from taskdb.schedule import SUBJECT, Origin, Schedule, ScheduleEntity
from taskdb.settings import Settings
from taskdb.store.encode import encode
from taskdb.store.schedules import Definition
from taskdb_beat.command import loops_of
from taskdb_beat.loop import Loop
from taskdb_beat.observation import Observation, observe
from taskdb_beat.schedule import FireSchedules, tell

log = structlog.get_logger("taskdb.schedule")

_STOP_SECONDS = 10.0


class DatabaseScheduler(Scheduler):
    """Fires the schedules of the database, and runs the loops of a beat beside it.

    The entries of the app's `beat_schedule` become rows when it starts. One whose task is a task
    type makes a task; any other one sends its message as Celery does, once for each due time (a
    beat that is killed in the moment of sending sends it again).
    """

    def __init__(self, app: Any, *arguments: Any, **options: Any) -> None:
        found = getattr(app, "taskdb_reader", None)
        self._taskdb: TaskDB = found if isinstance(found, TaskDB) else TaskDB(Settings.load())
        self._fire = FireSchedules(self._taskdb)
        self._loops: list[Loop] = []
        self._observation: Observation | None = None
        self._loop = Loop("schedule", self._pass, self._taskdb.settings.schedule_interval_seconds)
        self._is_imported = False
        super().__init__(app, *arguments, **options)

    def setup_schedule(self) -> None:
        """Start the loops; the entries become rows at the first tick that has a database."""
        self._loops = loops_of(self._taskdb)
        self._observation = observe(self._taskdb, [*self._loops, self._loop])
        for loop in self._loops:
            loop.start()
        self._observation.start()

    def tick(self, *_arguments: Any, **_options: Any) -> float:
        """Fire what is due; answers the seconds to the next look, which edits wait for at most."""
        if self._loop.run_once():
            return 0.0
        longest = self._taskdb.settings.schedule_interval_seconds
        try:
            waits = [self._fire.seconds_to_due()]
            sends = self._taskdb.store.seconds_to_due(has_message=True)
            waits += [] if sends is None else [sends]
        except DatabaseError:
            return longest
        return min(*waits, longest)

    def sync(self) -> None:
        """There is nothing to remember: the rows do."""

    def close(self) -> None:
        """End the loops."""
        if self._observation is not None:
            self._observation.stop()
        for loop in self._loops:
            loop.let_end()
        for loop in self._loops:
            loop.stop(_STOP_SECONDS)
        self._taskdb.close()

    @property
    def info(self) -> str:
        """What `celery beat` shows of it."""
        return "    . schedules -> the database of TaskDB"

    def _pass(self) -> bool:
        if not self._is_imported:
            self._import_entries()
            self._is_imported = True
        more = self._fire.run_once()
        sent = self._taskdb.store.send_due(self._send)
        self._fire.tell_broken(sent)
        return sent.is_full or more

    def _import_entries(self) -> None:
        definitions = []
        for name, entry in (self.app.conf.beat_schedule or {}).items():
            try:
                definitions.append(self._definition(name, dict(entry)))
            except (TaskDBError, KeyError, TypeError, ValueError) as error:
                log.error("schedule.not_declared", name=name, reason=str(error))  # noqa: TRY400 - it says what to do
        tell(self._taskdb.store.sync_schedules(Origin.CELERY, definitions), "celery")

    def _definition(self, name: str, entry: Mapping[str, Any]) -> Definition:
        """The row of an entry; raises InvalidInput for what we cannot keep."""
        options = dict(entry.get("options") or {})
        arguments, keywords = list(entry.get("args") or ()), dict(entry.get("kwargs") or {})
        given = when(entry["schedule"], str(self.app.timezone))
        is_ours = entry["task"] in self._taskdb.discover()
        if is_ours:
            if arguments:
                advice = f"{entry['task']} is a task type: give kwargs, the fields of its input"
                raise InvalidInput(SUBJECT, [Fault("args", advice)])
            given |= {one: options[one] for one in ("queue", "priority") if one in options}
        one = Schedule(name=name, **given)
        tenant = self._taskdb.settings.default_tenant
        if not is_ours:
            message = {"args": arguments, "kwargs": keywords, "options": options}
            encode(message, f"the entry {name!r}")
            return Definition(
                name, tenant, entry["task"], None, one, Origin.CELERY, message=message
            )
        known = self._taskdb.discover().get(entry["task"])
        return Definition(name, tenant, entry["task"], known.dump(keywords), one, Origin.CELERY)

    def _send(self, one: ScheduleEntity, due: datetime) -> None:
        """Publish a plain Celery task; raises BrokerUnreachable, and it is due again.

        Any other error, also one that kombu calls an error of the connection, is the message's own.
        """
        message = one.message or {}
        headers = {"schedule": one.name, "due_at": due.isoformat()}
        try:
            self.app.send_task(
                one.type,
                message["args"],
                message["kwargs"],
                **{"headers": headers, **message["options"]},
            )
        except Exception as error:
            if not is_unreachable(error, self.app.connection_for_write().get_transport_cls()):
                raise
            reason = f"schedule {one.name!r} was not sent and is tried again: {error}"
            raise BrokerUnreachable(reason) from error


def when(given: Any, timezone: str) -> dict[str, Any]:
    """How an entry of Celery's recurs, as options of `Schedule`; raises InvalidInput."""
    if isinstance(given, crontab):
        days = given._orig_day_of_month, given._orig_day_of_week  # noqa: SLF001 - as it was written
        if all(not str(one).startswith("*") for one in days):
            advice = (
                "Celery wants both the day of the month and of the week, cron either of them: "
                "leave one of them '*'"
            )
            raise InvalidInput(SUBJECT, [Fault("cron", advice)])
        return {"cron": cron_of(given), "timezone": timezone}
    if isinstance(given, schedule):
        return {"every": given.run_every}
    if isinstance(given, int | float) or hasattr(given, "total_seconds"):
        return {"every": given}
    advice = f"{type(given).__name__} is not supported: give a crontab or an interval"
    raise InvalidInput(SUBJECT, [Fault("schedule", advice)])


def cron_of(given: Any) -> str:
    """The five fields of Celery's crontab."""
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    return " ".join(str(getattr(given, f"_orig_{name}")).replace(" ", "") for name in names)
