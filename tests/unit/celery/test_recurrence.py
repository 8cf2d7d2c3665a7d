"""Celery's schedules and ours: the same due times, but where a clock is changed."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab, schedule
from tests.cases import each
from tests.rounds import rounds

from taskdb import InvalidInput
from taskdb.celery.entry_options import task_options
from taskdb.celery.recurrence import cron_of, crontab_of, when
from taskdb.model.schedule.timetable import Timetable

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
ZONES = (
    "Europe/Berlin", "America/Nuuk", "Australia/Lord_Howe", "America/New_York", "Asia/Kolkata",
    "UTC",
)  # fmt: skip
# Minute, hour, day of the week, day of the month, month: the order of Celery's arguments.
TABLE: tuple[tuple[Any, ...], ...] = (
    (0, 0), (30, 2), ("30", "2"), (15, "1-3"), (45, 1), ("5,35", 2), (0, 3), (59, 23),
    (0, "*/2"), (0, "*/6"), (30, "*/8"), (0, "*/12"), (0, "*/5"), (0, "1-23/4"), (10, "22-4"),
    ("10", "22-4/2"), ("*/30", 2), ("*/20", "9-17"), ("0-59/15", "0,12"), ("50-10/10", 6),
    ([0, 30], [8, 20]), ({5, 10}, {3}), ((7,), range(0, 24, 12)), (0, "9-17", "mon-fri"),
    (0, 9, "sat"), (0, 9, "saturday"), (0, 9, "sat-sun"), (0, 9, "fri-mon"), (0, 9, "Sun,WED"),
    (0, 9, "sunday"), (0, 9, 0), (0, 9, {1, 5}), (0, 9, "*/2"), (0, 9, "1-5/2"), (0, 9, "6"),
    (0, 9, "sat", "1-7"), (0, 9, "mon", "31", "*"), (0, 9, "fri", "13"), (0, 9, "mon", "1,15"),
    (0, 9, "sun", "25-31", "3,10"), (30, 2, "sun", "25-31", "3,10"), (0, 0, "*", "1"),
    (0, 0, "*", "31"), (0, 0, "*", "29", "2"), (0, 0, "*", "30,31"), (0, 0, "*", "*/10"),
    (0, 0, "*", "28-3"), (0, 0, "*", {1, 15}), (0, 0, "*", [10, 20], {6, 12}),
    (0, 12, "*", "*", "jan"), (0, 12, "*", "1", "*/3"), (0, 12, "*", "1", "2-12/2"),
    (0, 12, "*", "*", "nov-feb"), (0, 12, "tue-thu", "*", "march"), (0, 12, "mon", "*/2"),
    (0, 12, "*/3", "*/3"), (0, 12, "mon", "1-31"), (0, 12, "sun-sat", "15"),
    ("*/45", "*/7", "mon,tue"), (0, 2, "sun", "*", "3,10"),
)  # fmt: skip


def celery_due_times(given: Any, zone: str) -> list[datetime]:
    """When Celery's beat would send it in a year, were it never late."""
    app = Celery(set_as_current=False)
    app.conf.timezone = zone
    last = START.astimezone(ZoneInfo(zone))
    given.app, given.nowfun = app, lambda: last
    found = []
    while True:
        due = last.astimezone(UTC) + given.remaining_estimate(last)
        if due >= END:
            return found
        assert due > last
        found.append(due)
        last = due.astimezone(ZoneInfo(zone))


def our_due_times(given: Any, zone: str) -> list[datetime]:
    table = Timetable(kind="cron", anchor=START, **when(given, zone))
    assert table.check() == []
    return table.latest(START + timedelta(milliseconds=1), END, 1_000_000)


@cache
def changes(zone: str) -> set[date]:
    """The local days on which its clock is changed."""
    days = [START.date() + timedelta(days=number) for number in range(365)]
    midnights = [datetime(one.year, one.month, one.day, tzinfo=ZoneInfo(zone)) for one in days]
    return {
        moment.date()
        for moment in midnights
        if moment.utcoffset() != (moment + timedelta(days=1)).replace(fold=1).utcoffset()
    }


def test_the_table_has_sixty_expressions() -> None:
    assert len({repr(one) for one in TABLE}) == 60


@pytest.mark.rounds
@each("zone", ZONES[: rounds(2, len(ZONES))])
@each("fields", TABLE, ids=repr)
def test_a_crontab_is_due_when_celery_says_but_where_clocks_are_changed(
    fields: tuple[Any, ...], zone: str
) -> None:
    """On the days of a change Celery counts on by the wall clock from the last run.

    A fixed time in the gap is due there as much later as the gap is long, and here at its end; of
    several times in the gap it sends one or none; what recurs is sent there once in the hour that
    comes twice, and here in real time. Every other day is the same to the second.
    """
    theirs = celery_due_times(crontab(*fields), zone)
    ours = our_due_times(crontab(*fields), zone)
    other = {due.astimezone(ZoneInfo(zone)).date() for due in set(theirs) ^ set(ours)}
    # In Nuuk a time in the gap before midnight is due on the day behind it.
    near = {day + timedelta(days=more) for day in changes(zone) for more in (0, 1)}
    assert other <= near
    assert len(set(theirs) - set(ours)) <= 2
    assert len(theirs) <= len(ours) <= len(theirs) + 12


def test_what_differs_where_a_clock_is_changed_is_what_the_pages_say() -> None:
    """In Berlin on 29 March 02:00 becomes 03:00, and on 25 October 03:00 becomes 02:00."""

    def difference(*fields: Any) -> tuple[list[str], list[str]]:
        theirs = celery_due_times(crontab(*fields), "Europe/Berlin")
        ours = our_due_times(crontab(*fields), "Europe/Berlin")
        return shown(set(theirs) - set(ours)), shown(set(ours) - set(theirs))

    def shown(found: set[datetime]) -> list[str]:
        zone = ZoneInfo("Europe/Berlin")
        return [due.astimezone(zone).isoformat()[5:16] for due in sorted(found)]

    assert difference(30, 2) == (["03-29T03:30"], ["03-29T03:00"])
    assert difference(30, "1,2,4") == (["03-29T03:30"], ["03-29T03:00"])
    assert difference(0, "*/2") == ([], ["10-25T02:00"])
    assert difference("*/20", "2") == (
        [],
        ["03-29T03:20", "03-29T03:40", "10-25T02:00", "10-25T02:20", "10-25T02:40"],
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), "* * * * *"),
        ((0, 9, "sat", "1-7"), "0 9 1-7 * +sat"),
        ((0, 9, "sat-sun"), "0 9 * * sun,sat"),
        (("*", "*", "mon", "31", "2,3"), "* * 31 2,3 +mon"),
        (([1, 31], "22-4"), "1,31 0-4,22,23 * * *"),
        (("*/15", "*/2", "*", "*", "*/3"), "*/15 */2 * */3 *"),
        # Two fixed times of a day, of which neither recurs in real time.
        (("0,30", {0, 12}, "monday"), "0,30 0,12 * * mon"),
    ],
)
def test_a_crontab_reads_well(fields: tuple[Any, ...], expected: str) -> None:
    assert cron_of(crontab(*fields)) == expected


class Moody(crontab):  # type: ignore[misc]
    def is_due(self, last_run_at: datetime) -> Any:
        return super().is_due(last_run_at)


class Named(crontab):  # type: ignore[misc]
    def __repr__(self) -> str:
        return "named"


class Zoned(crontab):  # type: ignore[misc]
    tz = ZoneInfo("Asia/Tokyo")


class Often(schedule):  # type: ignore[misc]
    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        return timedelta(0)


def with_zone(zone: tzinfo) -> Any:
    found = crontab(0, 9)
    found.tz = zone
    return found


def patched() -> Any:
    found = crontab(0, 9)
    found.is_due = lambda _last: (True, 1)
    return found


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (Moody(0, 9), "is_due"),
        (Often(60), "remaining_estimate"),
        (patched(), "is_due"),
        (crontab(0, 9, nowfun=lambda: START), "nowfun"),
        (schedule(60, nowfun=lambda: START), "nowfun"),
        (schedule(timedelta(days=3), relative=True), "relative"),
        (with_zone(timezone(timedelta(hours=5, minutes=45))), "no IANA name"),
        (crontab(minute=set()), "no number"),
        (crontab(minute={1.5}), "whole numbers"),
        (schedule(None), "not an interval"),
    ],
)
def test_what_would_be_due_at_other_times_is_refused_in_words(given: Any, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        when(given, "UTC")


@pytest.mark.parametrize(
    ("given", "zone"),
    [
        (crontab(0, 9), "Europe/Berlin"),
        (Named(0, 9), "Europe/Berlin"),
        (Zoned(0, 9), "Asia/Tokyo"),
        (with_zone(ZoneInfo("America/Lima")), "America/Lima"),
        (with_zone(UTC), "UTC"),
        (with_zone(timezone(timedelta(hours=2))), "Etc/GMT-2"),
    ],
)
def test_a_crontab_keeps_its_own_time_zone_or_that_of_its_app(given: Any, zone: str) -> None:
    assert when(given, ZoneInfo("Europe/Berlin")) == {"cron": "0 9 * * *", "timezone": zone}


def test_the_time_zone_of_django_celery_beat_is_kept() -> None:
    """Its class, as it stands in its package, which is not installed here."""

    def nowfunc(self: Any) -> datetime:
        return datetime.now(self.tz)

    def begin(self: Any, *fields: Any, tz: tzinfo) -> None:
        self.tz = tz
        crontab.__init__(self, *fields, nowfun=self.nowfunc)

    def is_due(self: Any, last_run_at: datetime) -> Any:
        return crontab.is_due(self, last_run_at.astimezone(self.tz))

    body = {"nowfunc": nowfunc, "__init__": begin, "is_due": is_due}
    body["__module__"] = "django_celery_beat.tzcrontab"  # type: ignore[assignment]
    kind: Callable[..., Any] = type("TzAwareCrontab", (crontab,), body)
    found = when(kind(0, 9, tz=ZoneInfo("Asia/Tokyo")), "UTC")
    assert found == {"cron": "0 9 * * *", "timezone": "Asia/Tokyo"}
    changed = type("Changed", (kind,), {"is_due": is_due, "now": nowfunc})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="now"):
        when(changed(0, 9, tz=ZoneInfo("Asia/Tokyo")), "UTC")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (60, "* * * * *"),
        (15 * 60, "*/15 * * * *"),
        (90 * 60, "0 * * * *"),
        (7_200, "0 */2 * * *"),
        (86_400, "0 0 * * *"),
    ],
)
def test_a_relative_interval_is_due_at_whole_units_of_the_clock(
    seconds: int, expected: str
) -> None:
    found = when(schedule(seconds, relative=True), "Europe/Berlin")
    assert found == {"cron": expected, "timezone": "Europe/Berlin"}
    assert when(seconds, "Europe/Berlin", is_relative=True) == found


@pytest.mark.parametrize("seconds", [7, 7 * 60, 5 * 3_600])
def test_a_relative_interval_that_divides_no_unit_begins_at_one(seconds: int) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    found = when(schedule(seconds, relative=True), zone)
    table = Timetable(kind="interval", anchor=START, interval=found["every"],
        starts_at=found["starts_at"])  # fmt: skip
    assert found["every"] == timedelta(seconds=seconds)
    for due in table.latest(START, START + timedelta(days=1), 9):
        assert (due.astimezone(zone).minute == 0 or seconds < 3_600) and due.microsecond == 0


def test_a_starting_deadline_leaves_out_what_is_older() -> None:
    found = when(crontab(0, 9), "UTC", starting_deadline=300)
    assert (found["misfire"], found["misfire_grace"]) == ("skip", 300)
    assert "misfire" not in when(60, "UTC", starting_deadline=300)


@pytest.mark.parametrize("field", ["x-", "a b", "", "99", "*/0", "-1"])
def test_a_crontab_that_celery_refuses_is_refused(field: str) -> None:
    with pytest.raises(InvalidInput):
        crontab_of({"minute": field})


def test_options_of_a_task_type_are_kept_or_refused() -> None:
    moment = START.isoformat()
    assert task_options({"queue": "q", "priority": 0, "expires": 60, "headers": {}}) == {
        "queue": "q", "priority": 0, "deadline": 60,
    }  # fmt: skip
    assert task_options({"expires": moment}) == {"ends_at": START}
    for wrong in ("countdown", "eta", "exchange", "routing_key", "headers", "link", "time_limit"):
        with pytest.raises(InvalidInput, match=wrong):
            task_options({"queue": "q", wrong: {"x": 1}})
    for expires in ("soon", True, START.replace(tzinfo=None), [1]):
        with pytest.raises(InvalidInput, match="expires"):
            task_options({"expires": expires})
