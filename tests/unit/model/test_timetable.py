"""Due times: cron in a zone, through both changes of the clock, intervals, and once."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from taskdb.model.schedule.timetable import COUNT_LIMIT, Timetable

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPRING = datetime(2026, 3, 28, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 24, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def cron(text: str, timezone: str = "Europe/Berlin", **values: object) -> Timetable:
    return Timetable(kind="cron", anchor=NOON, cron=text, timezone=timezone, **values)  # type: ignore[arg-type]


def every(seconds: float, **values: object) -> Timetable:
    interval = timedelta(seconds=seconds)
    return Timetable(kind="interval", anchor=NOON, interval=interval, **values)  # type: ignore[arg-type]


def shown(table: Timetable, after: datetime, count: int) -> list[str]:
    return [due.strftime("%d %H:%M") for due in islice(table.behind(after), count)]


def test_a_time_that_does_not_exist_falls_on_the_first_moment_after_the_gap() -> None:
    """On 29 March 02:00 becomes 03:00, which is 01:00 UTC."""
    assert shown(cron("30 2 * * *"), SPRING, 3) == ["28 01:30", "29 01:00", "30 00:30"]


def test_two_times_in_the_gap_are_one() -> None:
    assert shown(cron("0,30 2 29 3 *"), SPRING, 2) == ["29 01:00", "29 00:00"]


def test_a_time_that_exists_twice_counts_once() -> None:
    """On 25 October 03:00 becomes 02:00: 02:30 is at 00:30 and at 01:30 UTC."""
    table = cron("30 2 * * *")
    assert shown(table, AUTUMN, 3) == ["24 00:30", "25 00:30", "26 01:30"]
    between = datetime(2026, 10, 25, 1, tzinfo=UTC)
    assert shown(table, between, 1) == ["26 01:30"]


@pytest.mark.parametrize("text", ["0 * * * *", "@hourly"])
def test_what_is_due_every_hour_follows_real_time_through_both_changes(text: str) -> None:
    for start in (SPRING, AUTUMN):
        found = list(islice(cron(text).behind(start), 40))
        gaps = {after - before for before, after in pairwise(found)}
        assert gaps == {timedelta(hours=1)}


def local(table: Timetable, start: str, count: int) -> list[str]:
    """Wall clock, from a local moment on."""
    zone = ZoneInfo(table.timezone)
    after = datetime.fromisoformat(start).replace(tzinfo=zone).astimezone(UTC)
    return [f"{due.astimezone(zone):%d %H:%M}" for due in islice(table.behind(after), count)]


def test_a_change_of_half_an_hour_skips_no_run_of_every_second_hour() -> None:
    """On Lord Howe Island 02:00 becomes 02:30 on 4 October, and 01:30 on 5 April."""
    table = cron("0 */2 * * *", "Australia/Lord_Howe")
    assert local(table, "2026-10-03T23:00", 4) == ["04 00:00", "04 02:30", "04 04:00", "04 06:00"]
    assert local(table, "2026-04-04T23:00", 4) == ["05 00:00", "05 02:00", "05 04:00", "05 06:00"]


@each("step", range(1, 13))
@each(
    "zone", ["Australia/Lord_Howe", "Europe/Berlin", "America/Nuuk", "Africa/Cairo", "Asia/Tokyo"]
)
def test_steps_of_hours_leave_out_no_time_that_the_clock_shows(step: int, zone: str) -> None:
    table = cron(f"0 */{step} * * *", zone)
    year = datetime(2026, 1, 1, tzinfo=UTC)
    found = set(table.latest(year, year.replace(year=2027), 10_000))
    shown = {
        moment
        for moment in (year + number * timedelta(minutes=30) for number in range(48 * 365))
        if (wall := moment.astimezone(ZoneInfo(zone))).minute == 0 and wall.hour % step == 0
    }
    assert shown <= found
    # What is due beside them stands for times that the clock leaves out: one change a year.
    assert len(found - shown) <= 1


def test_a_recurring_time_in_a_gap_is_due_when_the_old_clock_would_have_shown_it() -> None:
    every_other_hour, every_hour = cron("30 */2 * * *"), cron("30 * * * *")
    assert local(every_other_hour, "2026-03-29T00:00", 3) == ["29 00:30", "29 03:30", "29 04:30"]
    assert local(every_hour, "2026-03-29T00:00", 3) == ["29 00:30", "29 01:30", "29 03:30"]


def test_a_gap_before_midnight_keeps_the_order() -> None:
    """In Nuuk 23:00 of 28 March 2026 becomes 00:00 of the 29th."""
    table = cron("*/30 * * * *", "America/Nuuk")
    assert local(table, "2026-03-28T22:00", 4) == ["28 22:30", "29 00:00", "29 00:30", "29 01:00"]
    assert local(cron("45 23 * * *", "America/Nuuk"), "2026-03-28T12:00", 2) == [
        "29 00:00",
        "29 23:45",
    ]


def test_a_day_that_the_clock_leaves_out_is_made_up_for_after_it() -> None:
    """Samoa had no 30 December 2011."""
    table = cron("30 2 * * *", "Pacific/Apia")
    assert local(table, "2011-12-28T12:00", 3) == ["29 02:30", "31 00:00", "31 02:30"]


def test_a_plus_demands_both_the_day_of_the_month_and_of_the_week() -> None:
    """The first Saturday, and Friday the 13th."""
    first = cron("0 9 1-7 * +sat", "UTC")
    assert [f"{due:%m-%d}" for due in islice(first.behind(NOON), 4)] == [
        "01-03", "02-07", "03-07", "04-04",
    ]  # fmt: skip
    friday = cron("0 0 13 * +fri", "UTC")
    assert [f"{due:%m-%d}" for due in islice(friday.behind(NOON), 3)] == ["02-13", "03-13", "11-13"]
    assert len(list(islice(cron("0 0 13 * fri", "UTC").behind(NOON), 9))) == 9
    leap = cron("0 0 29 2 +mon", "UTC").next(NOON)
    assert leap == datetime(2044, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["0 0 31 2 +mon", "0 0 31 4,6 +*", "0 0 +1 * mon", "0 0 1 * ++mon"]
)
def test_a_plus_in_a_wrong_expression_is_refused(text: str) -> None:
    assert [fault.path for fault in cron(text).check()] == ["cron"]


def test_names_ranges_steps_and_sunday_as_seven() -> None:
    assert shown(cron("0 9 * jan-feb mon-fri", "UTC"), NOON, 2) == ["02 09:00", "05 09:00"]
    assert shown(cron("*/20 8-9 * * *", "UTC"), NOON, 3) == ["02 08:00", "02 08:20", "02 08:40"]
    assert shown(cron("0 0 * * 7", "UTC"), NOON, 1) == shown(cron("0 0 * * sun", "UTC"), NOON, 1)


def test_an_interval_does_not_drift_and_keeps_its_anchor() -> None:
    table = every(7)
    due, found = NOON, []
    for _ in range(5):
        due = table.next(due + timedelta(seconds=0.9)) or due
        found.append((due - NOON).total_seconds())
    assert found == [7, 14, 21, 28, 35]
    assert every(7, starts_at=NOON + SECOND).first(NOON) == NOON + SECOND


def test_once_is_due_once_also_in_the_past() -> None:
    table = Timetable(kind="once", anchor=NOON, once_at=NOON)
    assert table.first(NOON + timedelta(days=1)) == NOON
    assert table.next(NOON) is None


def test_nothing_is_due_before_the_start_or_after_the_end() -> None:
    end = NOON + timedelta(minutes=3)
    table = cron("* * * * *", "UTC", starts_at=NOON + timedelta(minutes=1), ends_at=end)
    assert shown(table, NOON - timedelta(days=1), 9) == ["01 12:01", "01 12:02", "01 12:03"]


@given(st.integers(1, 5_000), st.integers(1, 400_000), st.integers(0, 400_000), st.integers(0, 9))
def test_the_latest_due_times_are_the_end_of_all_of_them(
    seconds: int, since: int, length: int, count: int
) -> None:
    table = every(seconds)
    begin = NOON + since * SECOND
    before = begin + min(length, 500 * seconds) * SECOND
    first = table.next(begin - timedelta(milliseconds=1))
    everything = []
    for due in table.behind(begin - timedelta(milliseconds=1)):
        if due >= before:
            break
        everything.append(due)
    assert first == (everything[0] if everything else first)
    assert table.latest(begin, before, count) == (everything[-count:] if count else [])
    assert table.count(begin, before) == len(everything)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)))  # noqa: DTZ001 - made aware below
def test_a_due_time_is_always_behind_the_moment_asked_for(naive: datetime) -> None:
    after = naive.replace(tzinfo=UTC)
    for text in ("*/15 1-3 * * *", "0,30 2 * * *", "30 2 * * *", "15 2,3 * * *"):
        due = cron(text).next(after)
        assert due is not None
        assert due > after
        # Asked from any moment in between, the answer is the same.
        assert cron(text).next(after + (due - after) / 2) == due


@pytest.mark.parametrize(
    "zone", ["America/Nuuk", "Africa/Cairo", "Australia/Lord_Howe", "Antarctica/Troll"]
)
@given(
    st.sampled_from(["*/15 * * * *", "30 23 * * *", "0 0 * * *", "45 23,0 * * *", "0 */2 * * *"]),
    st.integers(0, 363),
    st.integers(0, 2 * 86_400),
)
def test_every_moment_of_asking_finds_the_same_due_times(
    zone: str, text: str, day: int, seconds: int
) -> None:
    table = cron(text, zone)
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    found = list(islice(table.behind(start), 400))
    assert found == sorted(set(found))
    after = start + seconds * SECOND
    assert table.next(after) in [due for due in found if due > after][:1] or found[-1] <= after


def test_a_year_of_minutes_costs_by_what_is_asked_for() -> None:
    table = cron("* * * * *")
    since, before = NOON, NOON + timedelta(days=400)
    assert len(table.latest(since, before, 100)) == 100
    assert table.count(since, before) == COUNT_LIMIT


@pytest.mark.parametrize(
    "text",
    [
        "", "* * * *", "* * * * * *", "61 * * * *", "*/0 * * * *", "x * * * *", "0 0 30 2 *",
        "1-/2 * * * *", "0 0 1,,2 * *", "a/b/c * * * *", "@reboot", "0 0 31 4,6 *", "- - - - -",
    ],
)  # fmt: skip
def test_what_is_no_cron_expression_is_told(text: str) -> None:
    assert [fault.path for fault in cron(text).check()] == ["cron"]


@given(st.text("0123456789*/,-#lLmonwW+ ", max_size=20))
def test_any_text_is_a_cron_expression_or_none_and_never_an_error(text: str) -> None:
    cron(text).check()


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc/passwd", "/etc/localtime", "Europe"])
def test_what_is_no_time_zone_is_told(name: str) -> None:
    assert [fault.path for fault in cron("* * * * *", name).check()] == ["timezone"]


@pytest.mark.parametrize("seconds", [0, 0.5, -1, 1.0005])
def test_an_interval_is_a_second_at_least_in_whole_milliseconds(seconds: float) -> None:
    assert [fault.path for fault in every(seconds).check()] == ["every"]
