"""A cron expression: five fields, the days that match them, and the moments of those days.

`+` before the day of the week (`0 9 1-7 * +sat`) requires that the day of the month matches as
well. Without it one of the two is enough, unless one begins with `*`, as in Debian's cron.
"""

from __future__ import annotations

import calendar
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import count
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

ADVICE = "pass minute, hour, day of month, month and day of week, for example '30 2 * * mon-fri'"
_FIELDS = 5
_BOTH = "+"
_PATIENCE_YEARS = 50
"""An expression without a day in this time has none. 29 February on a Monday can take 40 years."""
_ANY_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression; `Cron.of` returns it."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    is_recurring: bool
    """Minute or hour begins with `*`: it recurs in real time, not at a fixed time of the day."""
    _matcher: CronSim

    @staticmethod
    def of(text: str) -> Cron:
        """Parse five fields. Raises ValueError."""
        return _parsed(text)

    def days(self, begin: date) -> Iterator[date]:
        """Yield the days from `begin` on that match month, day of month and day of week."""
        latest = begin.year
        for year in count(begin.year):
            if year > min(latest + _PATIENCE_YEARS, date.max.year - 1):
                return
            for month in self.months:
                if (year, month) < (begin.year, begin.month):
                    continue
                for number in range(1, calendar.monthrange(year, month)[1] + 1):
                    day = date(year, month, number)
                    if day >= begin and self._matcher.match_day(day):
                        latest = year
                        yield day

    def behind(self, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """Yield the due times after this moment, in order, in UTC.

        A fixed time that the clock skips is due at the first moment after the gap; one that the
        clock shows twice is due the first time. A recurring time is due each time the clock shows
        it; one that the clock skips is due when the old clock would have shown it.
        """
        moved: list[datetime] = []
        last = after
        # A gap moves a due time by the length of the gap, which is never more than a day.
        for day in self.days(_day_before(after, zone)):
            if not moved and _is_plain(day, zone):
                for due in self._plain_moments(day, zone, last):
                    last = due
                    yield due
                continue
            found = sorted({*moved, *self._moments(day, zone)})
            end = _moment(day + _DAY, time(), zone)
            # A gap before midnight moves due times among those of the next day.
            moved = [due for due in found if due >= end]
            for due in found:
                if last < due < end:
                    last = due
                    yield due
        yield from (due for due in moved if due > last)

    def _plain_moments(self, day: date, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        """Yield the due times after a moment, of a day without a change of the clock."""
        midnight = _moment(day, time(), zone)
        hours_gone = (after - midnight) // timedelta(hours=1)
        for hour in self.hours[bisect_left(self.hours, hours_gone) :]:
            for minute in self.minutes:
                due = midnight + timedelta(hours=hour, minutes=minute)
                if due > after:
                    yield due

    def _moments(self, day: date, zone: ZoneInfo) -> Iterator[datetime]:
        """Yield the due times of any day, in any order."""
        for hour in self.hours:
            for minute in self.minutes:
                shown = time(hour, minute)
                if self.is_recurring:
                    yield _moment(day, shown, zone)
                    if _is_shown(day, shown, zone):
                        yield _moment(day, shown.replace(fold=1), zone)
                else:
                    yield _first_moment(day, shown, zone)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Cron:
    fields = text.split()
    if len(fields) != _FIELDS:
        raise ValueError(f"a cron expression has five fields: {ADVICE}")
    has_both = fields[4].startswith(_BOTH)
    try:
        matcher = CronSim(" ".join([*fields[:4], fields[4].removeprefix(_BOTH)]), _ANY_DAY)
    except CronSimError as error:
        raise ValueError(f"{error}: {ADVICE}") from None
    # The parser has assertions; any text must lead to an error with a message.
    except (AssertionError, ValueError, TypeError, RecursionError):
        raise ValueError(f"cannot be read: {ADVICE}") from None
    if has_both:
        matcher.day_and = True
    cron = Cron(
        minutes=tuple(sorted(matcher.minutes)),
        hours=tuple(sorted(matcher.hours)),
        months=tuple(sorted(matcher.months)),
        is_recurring=fields[0].startswith("*") or fields[1].startswith("*"),
        _matcher=matcher,
    )
    if next(cron.days(_ANY_DAY.date()), None) is None:
        raise ValueError("no day matches it")
    return cron


def _day_before(moment: datetime, zone: ZoneInfo) -> date:
    try:
        return moment.astimezone(zone).date() - _DAY
    except OverflowError:
        return date.min


def _is_plain(day: date, zone: ZoneInfo) -> bool:
    """Return whether the clock does not change on this day, its midnights included."""
    begin = datetime.combine(day, time(), zone)
    end = datetime.combine(day + _DAY, time(fold=1), zone)
    return begin.utcoffset() == end.utcoffset()


def _moment(day: date, shown: time, zone: ZoneInfo) -> datetime:
    """Return when the clock shows a time, in UTC; in a gap, when the old clock would show it."""
    return datetime.combine(day, shown, zone).astimezone(UTC)


def _is_shown(day: date, shown: time, zone: ZoneInfo) -> bool:
    wall = datetime.combine(day, shown)
    return _moment(day, shown, zone).astimezone(zone).replace(tzinfo=None, fold=0) == wall


def _first_moment(day: date, shown: time, zone: ZoneInfo) -> datetime:
    """Return when the clock first shows a time, in UTC; in a gap, the end of the gap."""
    wall = datetime.combine(day, shown)
    while not _is_shown(wall.date(), wall.time(), zone):
        wall += _MINUTE
    return _moment(wall.date(), wall.time(), zone)
