"""Schedules: recurring submissions, their declaration, and their rows as values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from taskdb.errors import Fault, InvalidInput, did_you_mean
from taskdb.model.bounds import NAME_BYTES, QUEUE_BYTES, TEXT_BYTES, as_duration, shown, wrong_text
from taskdb.model.clock import require_aware
from taskdb.model.schedule.timetable import Kind, Timetable

SUBJECT = "the schedule"
BOUND_LIMIT = 1_000
"""Most due times that one schedule fires in one pass, so also the most that `run_all` fires."""
_NAME_LIMIT = 200
_JITTER_LIMIT = timedelta(days=1)
_DURATIONS = ("every", "jitter", "deadline", "misfire_grace")
_OPTIONAL = ("every", "deadline")
_TEXTS = {
    "cron": TEXT_BYTES,
    "timezone": TEXT_BYTES,
    "name": TEXT_BYTES,
    "tenant": NAME_BYTES,
    "queue": QUEUE_BYTES,
}
"""The options that are texts, with their limits in bytes."""
_MOMENTS = ("at", "starts_at", "ends_at")


class Misfire(StrEnum):
    """The policy for due times that passed while no beat was running."""

    SKIP = "skip"
    RUN_ONCE = "run_once"
    RUN_ALL = "run_all"


class Overlap(StrEnum):
    """The policy for a due time while the last task of the schedule is open."""

    ALLOW = "allow"
    SKIP = "skip"
    CANCEL_RUNNING = "cancel_running"


class Origin(StrEnum):
    """The author of a schedule: a person, `@task`, TASKDB_SCHEDULES, Celery's `beat_schedule`."""

    PERSON = "person"
    CODE = "code"
    SETTINGS = "settings"
    CELERY = "celery"


class RunOutcome(StrEnum):
    """The outcome of a due time."""

    FIRED = "fired"
    SKIPPED = "skipped"
    MISSED = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When and how a task type is submitted repeatedly: `@task("…", schedule=Schedule(…))`.

    Pass one of `cron` (five fields, read in `timezone`; `+` before the day of the week requires the
    day of the month as well), `every` (a duration, at least a second) and `at` (a moment).
    Durations are timedelta or seconds, moments are aware datetimes. `name` defaults to the name of
    the type. No task is due before `starts_at` or after `ends_at`. `jitter` delays each task by a
    random time up to its value. A task that is not claimed within `deadline`, counted from the
    moment from which it may run, is FAILED as expired. A due time older than `misfire_grace` when a
    beat sees it is a misfire: `skip` creates no task, `run_once` creates one task for all misfires,
    `run_all` one for each of the newest `misfire_bound`. `overlap` decides what happens while the
    last task is open: `allow`, `skip` (no new task), `cancel_running`. Raises InvalidInput that
    names every fault.
    """

    cron: str | None = field(default=None, kw_only=False)
    every: timedelta | float | None = None
    at: datetime | None = None
    timezone: str = "UTC"
    name: str | None = None
    input: Any = None
    tenant: str | None = None
    queue: str | None = None
    priority: int | None = None
    jitter: timedelta | float = timedelta(0)
    deadline: timedelta | float | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    misfire: Misfire | str = Misfire.RUN_ONCE
    misfire_grace: timedelta | float = timedelta(seconds=60)
    misfire_bound: int = 100
    overlap: Overlap | str = Overlap.ALLOW
    is_enabled: bool = True

    def __post_init__(self) -> None:
        faults: list[Fault] = []
        for name, convert in _CONVERTED.items():
            try:
                object.__setattr__(self, name, convert(getattr(self, name), name))
            except (ValueError, TypeError, OverflowError) as error:
                faults.append(Fault(name, str(error)))
        faults = faults or [*self._wrong_choice(), *self._wrong_numbers()]
        faults = faults or self.timetable(datetime.now(UTC)).check()
        if faults:
            raise InvalidInput(SUBJECT, faults)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Schedule:
        """Return the schedule of JSON values, moments as ISO text. Raises InvalidInput."""
        known = [one.name for one in fields(cls)]
        faults = [
            Fault(name, f"unknown option{did_you_mean(name, known)}")
            for name in given
            if name not in known
        ]
        if faults:
            raise InvalidInput(SUBJECT, faults)
        values = dict(given)
        for name in _MOMENTS:
            if isinstance(values.get(name), str):
                values[name] = _moment_of(values[name], name)
        return cls(**values)

    @property
    def kind(self) -> Kind:
        """The kind of recurrence: cron, every or at."""
        if self.at is not None:
            return "once"
        return "interval" if self.every is not None else "cron"

    def timetable(self, anchor: datetime) -> Timetable:
        """Return its due times. An interval without `starts_at` counts from the anchor."""
        return Timetable(
            kind=self.kind,
            anchor=anchor,
            cron=self.cron,
            interval=self.every if isinstance(self.every, timedelta) else None,
            once_at=self.at,
            timezone=self.timezone,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
        )

    def _wrong_choice(self) -> list[Fault]:
        given = [name for name in ("cron", "every", "at") if getattr(self, name) is not None]
        if len(given) != 1:
            passed = " and ".join(given) or "none of them"
            return [Fault("", f"pass one of cron, every and at, not {passed}")]
        return []

    def _wrong_numbers(self) -> list[Fault]:
        faults = []
        if self.name is not None and not 0 < len(self.name.strip()) <= _NAME_LIMIT:
            faults.append(Fault("name", f"1 to {_NAME_LIMIT} characters"))
        if type(self.misfire_bound) is not int or not 1 <= self.misfire_bound <= BOUND_LIMIT:
            faults.append(Fault("misfire_bound", f"a whole number from 1 to {BOUND_LIMIT:,}"))
        if self.priority not in (None, *range(10)) or isinstance(self.priority, bool):
            faults.append(Fault("priority", f"{shown(self.priority)} is not a number from 0 to 9"))
        if self.jitter > _JITTER_LIMIT:  # type: ignore[operator]  # converted above
            faults.append(Fault("jitter", "at most a day"))
        enabled: Any = self.is_enabled
        if not isinstance(enabled, bool):
            faults.append(Fault("is_enabled", f"{shown(enabled)} is neither True nor False"))
        if self.deadline is not None and not self.deadline:
            faults.append(Fault("deadline", "0 is too short: pass more, or leave it out"))
        return faults


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleEntity:
    """A schedule: a snapshot of its row.

    `next_due_at` is None when it is paused or over. `last_error` is the reason why a beat could not
    fire it. `message` is set for a plain Celery task, which gets no row (see `DatabaseScheduler`).
    """

    id: str
    name: str
    tenant: str
    type: str
    input: Any
    kind: Kind
    cron: str | None
    every: timedelta | None
    at: datetime | None
    timezone: str
    queue: str | None
    priority: int | None
    jitter: timedelta
    deadline: timedelta | None
    starts_at: datetime | None
    ends_at: datetime | None
    is_enabled: bool
    misfire: Misfire
    misfire_grace: timedelta
    misfire_bound: int
    overlap: Overlap
    origin: Origin
    message: Mapping[str, Any] | None
    next_due_at: datetime | None
    last_due_at: datetime | None
    last_task_id: str | None
    last_error: str | None
    created_by: str | None
    created_at: datetime
    updated_at: datetime
    version: int

    @property
    def is_over(self) -> bool:
        """It has no due time any more."""
        return self.is_enabled and self.next_due_at is None

    @property
    def timetable(self) -> Timetable:
        """Return its due times."""
        return Timetable(
            kind=self.kind,
            anchor=self.created_at,
            cron=self.cron,
            interval=self.every,
            once_at=self.at,
            timezone=self.timezone,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
        )

    def run_at(self, due: datetime) -> datetime | None:
        """Return when the task of a due time may run; None for at once.

        The jitter is derived from schedule and due time, so that every beat computes the same.
        """
        if not self.jitter:
            return None
        digest = hashlib.sha256(f"{self.id}|{due.timestamp():.3f}".encode()).digest()
        return due + self.jitter * (int.from_bytes(digest[:4]) / 2**32)

    def deadline_at(self, begin: datetime) -> datetime | None:
        """Return when a task that may run from `begin` on expires; None for never."""
        return None if self.deadline is None else begin + self.deadline


@dataclass(frozen=True, slots=True)
class RefusedSchedule:
    """A declaration that was refused, so that its row is missing or out of date, and the reason."""

    origin: Origin
    name: str
    type: str
    reason: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """The outcome of a due time; `missed` counts `number` of them, up to `last_due_at`."""

    due_at: datetime
    outcome: RunOutcome
    task_id: str | None
    reason: str | None
    number: int
    last_due_at: datetime | None
    at: datetime


def named(schedules: Any, type_name: str) -> tuple[Schedule, ...]:
    """Return the schedules of `@task(schedule=…)`, each with a name.

    Raises InvalidInput, TypeError.
    """
    given = [schedules] if isinstance(schedules, str | Schedule) else list(schedules or ())
    found = []
    for place, one in enumerate(given, start=1):
        made = Schedule(one) if isinstance(one, str) else one
        if not isinstance(made, Schedule):
            message = f"schedule={one!r}: pass a cron expression, a Schedule, or a list of them"
            raise TypeError(message)
        name = made.name or (type_name if place == 1 else f"{type_name}:{place}")
        found.append(_with_name(made, name))
    _check_distinct([str(one.name) for one in found])
    return tuple(found)


def _with_name(schedule: Schedule, name: str) -> Schedule:
    values = {one.name: getattr(schedule, one.name) for one in fields(schedule)}
    return Schedule(**{**values, "name": name})


def _check_distinct(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidInput(SUBJECT, [Fault("name", f"{name!r} is used twice")])
        seen.add(name)


def _duration(value: Any, name: str) -> timedelta | None:
    if value is None and name in _OPTIONAL:
        return None
    return as_duration(value, name)


def _moment(value: Any, name: str) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise TypeError(f"{shown(value)} is not a datetime")
    aware = require_aware(value, name)
    # The resolution that every database stores.
    return aware.replace(microsecond=aware.microsecond // 1000 * 1000)


def _moment_of(text: str, name: str) -> datetime:
    try:
        return require_aware(datetime.fromisoformat(text), name)
    except ValueError as error:
        advice = (
            f"{shown(text)} is not a moment with a zone, for example 2031-05-04T08:00:00Z ({error})"
        )
        raise InvalidInput(SUBJECT, [Fault(name, advice)]) from None


def _choice(kind: type[StrEnum]) -> Any:
    def convert(value: Any, _name: str) -> StrEnum:
        try:
            return kind(value)
        except ValueError:
            known = [one.value for one in kind]
            message = f"one of {', '.join(known)}{did_you_mean(shown(value), known)}"
            raise ValueError(message) from None

    return convert


def _text(value: Any, name: str) -> Any:
    reason = None if value is None else wrong_text(value, _TEXTS[name])
    if reason is not None:
        raise ValueError(reason)
    return value


_CONVERTED: Mapping[str, Any] = {
    **dict.fromkeys(_DURATIONS, _duration),
    **dict.fromkeys(_MOMENTS, _moment),
    **dict.fromkeys(_TEXTS, _text),
    "misfire": _choice(Misfire),
    "overlap": _choice(Overlap),
}
