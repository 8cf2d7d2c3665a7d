"""An entry of Celery's `beat_schedule` as the definition of a schedule."""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.beat import ScheduleEntry

from taskdb.celery.entry_options import task_options
from taskdb.celery.recurrence import when
from taskdb.client.taskdb import TaskDB
from taskdb.errors import Fault, InvalidInput, TaskDBError, did_you_mean
from taskdb.model.bounds import NAME_BYTES, check_texts
from taskdb.model.json_text import encode
from taskdb.model.schedule.schedule import SUBJECT, Origin, RefusedSchedule, Schedule
from taskdb.store.schedule.row import Definition

_KNOWN = (
    "task", "schedule", "args", "kwargs", "options", "relative", "last_run_at", "total_run_count",
    "name", "app",
)  # fmt: skip
_DECIDING = ("is_due", "default_now", "_default_now", "_next_instance", "next", "__next__")
"""The methods that a subclass of Celery's entry overrides to be sent at other times."""


class Entries:
    """The entries of an app, each a definition or refused with a reason."""

    def __init__(self, app: Any, taskdb: TaskDB) -> None:
        self._app = app
        self._taskdb = taskdb

    def read(self) -> tuple[list[Definition], list[RefusedSchedule]]:
        """Translate every entry. A wrong entry stops no other.

        Raises InvalidInput if `beat_schedule` is not a mapping.
        """
        found: list[Definition] = []
        refused: list[RefusedSchedule] = []
        entries = self._app.conf.beat_schedule or {}
        if not isinstance(entries, Mapping):
            advice = f"is a {type(entries).__name__}: pass an object of entries by name"
            raise InvalidInput(SUBJECT, [Fault("beat_schedule", advice)])
        for name, given in entries.items():
            task = getattr(given, "task", None)
            try:
                entry = _entry(given)
                task = entry.get("task")
                found.append(self._definition(str(name), entry))
            except TaskDBError as error:
                refused.append(_refused(name, task, str(error)))
            # An entry may contain anything.
            except Exception as error:  # noqa: BLE001
                refused.append(_refused(name, task, f"{type(error).__name__}: {error}"))
        return found, refused

    def _definition(self, name: str, entry: Mapping[str, Any]) -> Definition:
        """Return the row of an entry. Raises InvalidInput for an entry that cannot be kept."""
        task = entry.get("task")
        if not isinstance(task, str) or not task:
            raise InvalidInput(SUBJECT, [Fault("task", f"{task!r} is not the name of a task")])
        check_texts(SUBJECT, NAME_BYTES, task=task)
        options = dict(entry.get("options") or {})
        arguments, keywords = list(entry.get("args") or ()), dict(entry.get("kwargs") or {})
        given = self._when(entry)
        tenant = self._taskdb.settings.default_tenant
        known = self._taskdb.types.discover().find(task)
        if known is None:
            message = {"args": arguments, "kwargs": keywords, "options": options}
            encode(message, f"the entry {name!r}")
            one = Schedule(name=name, **given)
            return Definition(name, tenant, task, None, one, Origin.CELERY, message=message)
        if arguments:
            advice = f"{task} is a task type: pass kwargs, the fields of its input"
            raise InvalidInput(SUBJECT, [Fault("args", advice)])
        one = Schedule(name=name, **given, **task_options(options))
        value = known.dump(keywords)
        encode(value, f"the input of the entry {name!r}")
        return Definition(name, tenant, task, value, one, Origin.CELERY)

    def _when(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        given = when(
            entry.get("schedule"),
            self._app.timezone,
            is_relative=bool(entry.get("relative")),
            starting_deadline=self._app.conf.beat_cron_starting_deadline,
        )
        last = entry.get("last_run_at")
        if last is None:
            return given
        every = given.get("every")
        if every is None or "starts_at" in given:
            advice = "is kept for plain intervals only: leave it out"
            raise InvalidInput(SUBJECT, [Fault("last_run_at", advice)])
        return given | {"starts_at": _after(last, every)}


def _entry(given: Any) -> dict[str, Any]:
    """Return the options of an entry, without an entry object's last run: its creation time."""
    if isinstance(given, ScheduleEntry):
        kind = type(given)
        own = [
            name
            for name in _DECIDING
            if getattr(kind, name, None) is not getattr(ScheduleEntry, name, None)
            or name in vars(given)
        ]
        if own:
            advice = f"{kind.__name__} decides by itself when it is due ({', '.join(own)})"
            raise InvalidInput(SUBJECT, [Fault("", f"{advice}: pass a plain entry")])
        names = ("task", "schedule", "args", "kwargs", "options")
        return {name: getattr(given, name) for name in names}
    entry = dict(given)
    faults = [
        Fault(str(name), f"no such option of an entry{did_you_mean(str(name), _KNOWN)}")
        for name in entry
        if name not in _KNOWN
    ]
    if faults:
        raise InvalidInput(SUBJECT, faults)
    return entry


def _after(last: Any, every: timedelta | float) -> datetime:
    if not isinstance(last, datetime):
        raise InvalidInput(SUBJECT, [Fault("last_run_at", f"{last!r} is not a datetime")])
    length = every if isinstance(every, timedelta) else timedelta(seconds=every)
    # Celery reads a moment without a zone as UTC.
    return (last if last.tzinfo is not None else last.replace(tzinfo=UTC)) + length


def _refused(name: Any, task: Any, reason: str) -> RefusedSchedule:
    return RefusedSchedule(Origin.CELERY, str(name), str(task or "-"), reason)
