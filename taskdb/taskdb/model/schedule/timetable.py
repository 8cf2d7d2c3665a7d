"""Due times: by a cron expression in a time zone, by an interval, or once.

A due time is derived from the one before, never from the time of a look. So due times do not drift,
and every process computes the same ones. When a clock is changed, a cron expression behaves as in
Debian's cron: a fixed time that does not exist moves to the first moment after the gap, one that
exists twice counts once, and a time that recurs hourly or by the minute follows real time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Literal
from zoneinfo import ZoneInfo

from taskdb.errors import Fault
from taskdb.model.schedule.cron import Cron

Kind = Literal["cron", "interval", "once"]

LEAST_INTERVAL = timedelta(seconds=1)
COUNT_LIMIT = 10_000
"""Missed due times of a cron expression are counted up to this number."""
_FIRST_WINDOW = timedelta(hours=1)
_GROWTH = 8
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_TICK = timedelta(milliseconds=1)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """All due times from `starts_at` to `ends_at`; there may be no last one.

    An interval counts from `anchor`. `check` returns the faults; a wrong one has no due times.
    """

    kind: Kind
    anchor: datetime
    cron: str | None = None
    interval: timedelta | None = None
    once_at: datetime | None = None
    timezone: str = "UTC"
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def first(self, now: datetime) -> datetime | None:
        """Return the first due time from now on; that of `at` may be in the past."""
        if self.kind == "once":
            return self._within(self.once_at)
        return self.next(now)

    def next(self, after: datetime) -> datetime | None:
        """Return the first due time after this moment, or None."""
        return next(self.behind(after), None)

    def behind(self, after: datetime) -> Iterator[datetime]:
        """Yield the due times after this moment, in order."""
        if self.starts_at is not None:
            after = max(after, self.starts_at - _TICK)
        end = self.ends_at
        return takewhile(lambda due: end is None or due <= end, self._endless(after))

    def latest(self, since: datetime, before: datetime, count: int) -> list[datetime]:
        """Return the last `count` due times from `since` on and before `before`.

        The cost depends on `count`, not on how long ago `since` is.
        """
        window = _FIRST_WINDOW
        while True:
            start = max(since, before - window)
            found = list(takewhile(lambda due: due < before, self.behind(start - _TICK)))
            if len(found) >= count or start == since:
                return found[-count:] if count else []
            window *= _GROWTH

    def count(self, since: datetime, before: datetime) -> int:
        """Return the number of due times from `since` on and before `before`.

        Due times of a cron expression are counted up to `COUNT_LIMIT`.
        """
        if self.kind == "interval":
            end = before if self.ends_at is None else min(before, self.ends_at + _TICK)
            first = self.next(since - _TICK)
            if first is None or first >= end or self.interval is None:
                return 0
            return -(-(end - first) // self.interval)
        found = takewhile(lambda due: due < before, self.behind(since - _TICK))
        return sum(1 for _ in islice(found, COUNT_LIMIT))

    def check(self) -> list[Fault]:
        """Return the faults."""
        faults = _CHECKS[self.kind](self)
        if self.starts_at is not None and self.ends_at is not None:
            faults += (
                [] if self.starts_at < self.ends_at else [Fault("ends_at", "before starts_at")]
            )
        return faults

    def _endless(self, after: datetime) -> Iterator[datetime]:
        if self.kind == "once":
            due = self.once_at
            return iter([due] if due is not None and due > after else [])
        return self._by_interval(after) if self.kind == "interval" else self._by_cron(after)

    def _by_interval(self, after: datetime) -> Iterator[datetime]:
        if self.interval is None:
            return
        anchor = self.starts_at or self.anchor
        steps = max(0, (after - anchor) // self.interval + 1)
        while True:
            try:
                due = anchor + steps * self.interval
            except OverflowError:
                return
            yield due
            steps += 1

    def _by_cron(self, after: datetime) -> Iterator[datetime]:
        return Cron.of(plain_cron(self.cron or "")).behind(after, zone_of(self.timezone))

    def _within(self, due: datetime | None) -> datetime | None:
        too_early = due is not None and self.starts_at is not None and due < self.starts_at
        too_late = due is not None and self.ends_at is not None and due > self.ends_at
        return None if too_early or too_late else due


def plain_cron(text: str) -> str:
    """Return the five fields of a cron expression, also of one such as `@daily`."""
    return _MACROS.get(text.strip().lower(), text.strip())


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of this IANA name. Raises ValueError."""
    with suppress(OSError, ValueError, LookupError):
        if _ZONE.fullmatch(name) is not None:
            return ZoneInfo(name)
    raise ValueError(f"{name!r} is not a time zone: pass an IANA name, for example Europe/Berlin")


def _cron_faults(table: Timetable) -> list[Fault]:
    faults = []
    try:
        zone_of(table.timezone)
    except ValueError as error:
        faults.append(Fault("timezone", str(error)))
    try:
        Cron.of(plain_cron(table.cron or ""))
    except ValueError as error:
        faults.append(Fault("cron", f"{table.cron!r}: {error}"))
    return faults


def _interval_faults(table: Timetable) -> list[Fault]:
    interval = table.interval
    if interval is None or interval < LEAST_INTERVAL or interval % _TICK:
        advice = f"{interval} is too short or too fine: at least 1 s, in whole milliseconds"
        return [Fault("every", advice)]
    return []


def _once_faults(table: Timetable) -> list[Fault]:
    return [] if table.once_at is not None else [Fault("at", "pass the moment")]


_CHECKS = {"cron": _cron_faults, "interval": _interval_faults, "once": _once_faults}
