"""Schedules that fire: due times, misfires, overlaps, pauses, edits, and rows that are broken."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.schedule.schedule_site import MINUTE, START, Site, site
from tests.integration.submit_site import end
from tests.store.tasks import at_once

from taskdb import (
    BrokerUnreachable,
    InvalidInput,
    Schedule,
    TaskStatus,
    UnknownTaskType,
    default_taskdb,
    set_default,
)
from taskdb.errors import ScheduleExists, ScheduleNotFound
from taskdb.model.schedule import Origin, ScheduleEntity
from taskdb.store.contract import EVERYONE
from taskdb.store.schedule.fire import Send
from taskdb.store.schedule.row import Definition

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def its(store_url: str, tmp_path: Path) -> Iterator[Site]:
    with site(store_url, tmp_path) as made:
        yield made


def test_a_due_time_makes_one_task_that_knows_it(its: Site) -> None:
    its.add(queue="slow", priority=7, tenant="acme", input={"a": 2})
    assert its.fire() == 0
    assert its.fire(MINUTE) == 1
    assert its.fire() == 0
    (one,) = its.tasks()
    assert (one.type, one.input, one.tenant, one.queue) == (
        "plus",
        {"a": 2, "b": 0},
        "acme",
        "slow",
    )
    assert (one.priority, one.name, one.created_by) == (7, "it", "schedule:it")
    assert one.attributes == {"schedule": "it", "due_at": "2031-05-05T10:01:00+00:00"}
    (run,) = its.taskdb.schedules.runs("it")
    assert (run.task_id, run.outcome) == (one.id, "fired")
    found = its.taskdb.schedules.get("it")
    assert [found.last_due_at, found.next_due_at] == its.at("10:01", "10:02")
    assert found.last_task_id == one.id


def test_an_interval_does_not_drift_however_late_the_beat_comes(its: Site) -> None:
    its.add(every=10)
    for late in (10.9, 9.5, 10.3):
        its.fire(timedelta(seconds=late))
    assert [due for due, _, _ in its.runs()] == ["10:00:40", "10:00:50", "10:01:00"]


def test_once_fires_once_and_is_over_then(its: Site) -> None:
    its.add(at=START + HOUR)
    assert [its.fire(HOUR), its.fire(DAY)] == [1, 0]
    assert its.taskdb.schedules.get("it").is_over


def test_nothing_fires_before_the_start_or_after_the_end(its: Site) -> None:
    its.add(starts_at=START + 2 * MINUTE, ends_at=START + 4 * MINUTE)
    for _ in range(6):
        its.fire(MINUTE)
    assert [due for due, _, _ in its.runs()] == ["10:03:00", "10:04:00"]
    assert its.taskdb.schedules.get("it").is_over


@pytest.mark.parametrize(
    ("misfire", "expected"),
    [
        ("skip", [("10:01:00", "missed", 9), ("10:10:00", "fired", 1)]),
        ("run_once", [("10:01:00", "missed", 9), ("10:10:00", "fired", 1)]),
        (
            "run_all",
            [
                ("10:01:00", "missed", 6),
                ("10:07:00", "fired", 1),
                ("10:08:00", "fired", 1),
                ("10:09:00", "fired", 1),
                ("10:10:00", "fired", 1),
            ],
        ),
    ],
)
def test_a_beat_that_was_away_follows_the_policy(
    its: Site, misfire: str, expected: list[tuple[str, str, int]]
) -> None:
    its.add(misfire=misfire, misfire_bound=3)
    its.fire(10 * MINUTE)
    assert its.runs() == expected
    assert its.fire() == 0
    assert its.fire(MINUTE) == 1


@pytest.mark.parametrize(("misfire", "made"), [("skip", 0), ("run_once", 1), ("run_all", 2)])
def test_a_due_time_that_is_too_old_alone_follows_the_policy(
    its: Site, misfire: str, made: int
) -> None:
    its.add(cron="0 2 * * *", misfire=misfire)
    assert its.fire(2 * DAY) == made
    last = its.taskdb.schedules.runs("it")[0]
    assert f"{last.due_at:%d %H:%M}" == ("06 02:00" if misfire == "skip" else "07 02:00")


def test_within_the_grace_every_due_time_fires(its: Site) -> None:
    its.add(every=1, misfire="skip", misfire_grace=30)
    assert its.fire(timedelta(seconds=30)) == 30


@pytest.mark.parametrize("misfire", ["skip", "run_once", "run_all"])
def test_a_beat_that_was_away_for_a_year_is_quick(its: Site, misfire: str) -> None:
    its.add(every=1, misfire=misfire, misfire_grace=0)
    its.add("minutely", misfire=misfire)
    its.fire(400 * DAY)
    assert len(its.runs()) <= 102
    assert sum(number for _, _, number in its.runs()) == 400 * 86_400


@pytest.mark.parametrize(
    ("overlap", "statuses", "outcomes"),
    [
        ("allow", ["CREATED", "CREATED"], ["fired", "fired"]),
        ("skip", ["CREATED"], ["fired", "skipped"]),
        ("cancel_running", ["CANCELED", "CREATED"], ["fired", "fired"]),
    ],
)
def test_an_overlap_follows_the_policy(
    its: Site, overlap: str, statuses: list[str], outcomes: list[str]
) -> None:
    its.add(overlap=overlap)
    its.fire(MINUTE)
    its.fire(MINUTE)
    assert [str(one.status) for one in its.tasks()] == statuses
    assert [outcome for _, outcome, _ in its.runs()] == outcomes


@pytest.mark.parametrize(
    ("overlap", "fired"),
    [("allow", ["10:01:00", "10:02:00", "10:03:00"]), ("skip", ["10:01:00"]),
     ("cancel_running", ["10:03:00"])],
)  # fmt: skip
def test_what_is_made_up_for_does_not_overlap_either(
    its: Site, overlap: str, fired: list[str]
) -> None:
    its.add(overlap=overlap, misfire="run_all")
    its.fire(3 * MINUTE)
    assert [due for due, outcome, _ in its.runs() if outcome == "fired"] == fired
    assert len(its.runs()) == 3
    assert {one.status for one in its.tasks()} == {TaskStatus.CREATED}


def test_a_task_that_is_over_is_no_overlap(its: Site) -> None:
    its.add(overlap="skip")
    its.fire(MINUTE)
    end(its.taskdb, its.tasks()[0].id, "COMPLETED")
    assert its.fire(MINUTE) == 1


def test_a_running_body_is_asked_to_stop(its: Site) -> None:
    its.add(overlap="cancel_running")
    its.fire(MINUTE)
    end(its.taskdb, its.tasks()[0].id, "STARTED")
    its.fire(MINUTE)
    first, second = its.tasks()
    assert first.cancel_requested_at is not None
    assert second.status is TaskStatus.CREATED


def test_a_unique_key_lets_one_task_be_open_and_the_next_one_follow_its_end(its: Site) -> None:
    its.add(type="once")
    assert [its.fire(MINUTE), its.fire(MINUTE)] == [1, 0]
    assert [outcome for _, outcome, _ in its.runs()] == ["fired", "skipped"]
    end(its.taskdb, its.tasks()[0].id, "COMPLETED")
    assert its.fire(MINUTE) == 1


def test_jitter_delays_the_task_and_not_the_due_time(its: Site) -> None:
    its.add(jitter=40)
    its.fire(MINUTE)
    its.fire(MINUTE)
    delays = [(one.run_at - due).total_seconds() for one, due in
              zip(its.tasks(), its.at("10:01", "10:02"), strict=True)]  # fmt: skip
    assert all(0 <= one < 40 for one in delays)
    assert delays[0] != delays[1]
    assert [due for due, _, _ in its.runs()] == ["10:01:00", "10:02:00"]


def test_a_pause_holds_and_a_resume_does_not_fire_the_past(its: Site) -> None:
    its.add(misfire="run_all")
    assert its.taskdb.schedules.pause("it").next_due_at is None
    assert its.fire(HOUR) == 0
    assert its.taskdb.schedules.resume("it").next_due_at == its.at("11:01")[0]
    assert [its.fire(), its.fire(MINUTE)] == [0, 1]


def test_a_clock_that_steps_back_fires_nothing_twice(its: Site) -> None:
    its.add(misfire="run_all", overlap="cancel_running")
    for _ in range(3):
        its.fire(MINUTE)
    its.clock.advance(-2 * MINUTE)
    assert its.fire() == 0
    # Even where its next due time is found anew, as a resume does.
    its.taskdb.schedules.pause("it")
    its.taskdb.schedules.resume("it")
    its.fire(MINUTE)
    its.fire(MINUTE)
    assert [due for due, _, _ in its.runs()] == ["10:01:00", "10:02:00", "10:03:00"]
    assert its.tasks()[-1].status is TaskStatus.CREATED
    assert its.fire(MINUTE) == 1


def test_an_edit_takes_effect_at_the_next_pass(its: Site) -> None:
    its.add(cron="0 3 * * *")
    its.taskdb.schedules.create("it", "plus", {"a": 5}, cron="*/2 * * * *", replace=True)
    assert its.fire(2 * MINUTE) == 1
    assert its.tasks()[0].input["a"] == 5
    assert its.taskdb.schedules.get("it").version == 2
    its.write("UPDATE taskdb_schedule SET cron = '7 * * * *', next_due_at = NULL")
    its.fire()
    assert its.taskdb.schedules.get("it").next_due_at == its.at("10:07")[0]


def test_a_row_of_plain_sql_fires(its: Site) -> None:
    its.write("INSERT INTO taskdb_schedule (name, type, cron, input)"
              " VALUES ('sql', 'plus', '* * * * *', '{\"a\": 4}')")  # fmt: skip
    its.fire()
    assert its.fire(MINUTE) == 1
    assert its.tasks()[0].input["a"] == 4


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("cron = '99 * * * *'", "Bad minute"),
        ("timezone = 'Mars/Base'", "is not a time zone"),
        ("type = 'gone'", "no task type is named 'gone'"),
        ('input = \'{"a": "many"}\'', "the input of plus is not valid"),
    ],
)
def test_a_broken_row_says_why_stops_no_other_and_is_not_lost(
    its: Site, columns: str, told: str
) -> None:
    its.add("broken", misfire="run_all", misfire_grace=3600)
    its.add("sound")
    was = its.write("SELECT cron, timezone, type FROM taskdb_schedule WHERE name = 'broken'")[0]
    its.write(f"UPDATE taskdb_schedule SET {columns} WHERE name = 'broken'")
    its.clock.advance(MINUTE)
    fired = its.taskdb.schedules.fire()
    assert len(fired.task_ids) == 1
    assert told in str(its.taskdb.schedules.get("broken").last_error)
    assert list(fired.broken) == [its.taskdb.schedules.get("broken").id]
    # It is not looked at in every pass, and nothing of it is forgotten.
    assert not its.taskdb.schedules.fire().broken
    its.write(
        "UPDATE taskdb_schedule SET cron = :cron, timezone = :timezone, type = :type,"
        " input = '{\"a\": 1}' WHERE name = 'broken'",
        **was,
    )
    its.fire(MINUTE)
    assert [due for due, _, _ in its.runs("broken")] == ["10:01:00", "10:02:00"]
    assert its.taskdb.schedules.get("broken").last_error is None


def test_run_now_makes_a_task_beside_the_due_times(its: Site) -> None:
    its.add()
    its.taskdb.schedules.pause("it")
    made = its.taskdb.schedules.run_now("it")
    assert made.status is TaskStatus.CREATED
    again = its.taskdb.schedules.run_now("it")
    assert again.id != made.id
    assert [run.reason for run in its.taskdb.schedules.runs("it")] == ["by hand"] * 2
    its.taskdb.schedules.resume("it")
    assert its.fire(MINUTE) == 1


def test_an_edit_that_ends_a_pause_does_not_fire_the_past(its: Site) -> None:
    its.add(misfire="run_all", is_enabled=False)
    its.clock.advance(HOUR)
    its.add(misfire="run_all", replace=True)
    assert [its.fire(), its.fire(MINUTE)] == [0, 1]


def test_eight_threads_that_declare_at_once_make_each_schedule_once(its: Site) -> None:
    def add(_number: int) -> str:
        try:
            return its.add()
        except ScheduleExists:
            return "taken"

    assert sorted(at_once(add, 8))[1:] == ["taken"] * 7


def test_a_plain_celery_task_is_sent_once_for_each_due_time_and_none_is_lost(its: Site) -> None:
    for name in ("wrong", "sound"):
        one = Definition(
            name, "", "foreign.ping", None, Schedule("* * * * *"), Origin.CELERY, message={"n": 1}
        )
        its.taskdb.store.schedules.add(one, EVERYONE)
    sent: list[tuple[str, str]] = []
    is_away = True

    def send(one: ScheduleEntity, due: datetime) -> None:
        if one.name == "wrong":
            raise TypeError(one.name)
        if is_away:
            raise BrokerUnreachable("away")
        sent.append((one.name, f"{due:%H:%M}"))

    its.clock.advance(MINUTE)
    assert its.fire() == 0
    with pytest.raises(BrokerUnreachable):
        send_all(its, send)
    is_away = False
    send_all(its, send)
    assert sent == [("sound", "10:01")]
    assert its.runs("wrong") == []
    assert its.taskdb.schedules.get("wrong").last_error == "TypeError: wrong"
    with pytest.raises(InvalidInput, match="delay"):
        its.taskdb.schedules.run_now("sound")


def send_all(its: Site, send: Send) -> None:
    while its.taskdb.store.firings.send_due(send).is_full:
        pass


def test_a_removed_schedule_leaves_its_tasks(its: Site) -> None:
    its.add()
    its.fire(MINUTE)
    its.taskdb.schedules.remove("it")
    assert its.fire(MINUTE) == 0
    assert len(its.tasks()) == 1
    with pytest.raises(ScheduleNotFound):
        its.taskdb.schedules.get("it")


def test_what_is_wrong_is_told_before_anything_is_written(its: Site) -> None:
    with pytest.raises(UnknownTaskType):
        its.add(type="nope")
    for options, path in (
        ({"input": {"a": "many"}}, "a"),
        ({"cron": "* * *"}, "cron"),
        ({"cron": "* * * * *", "every": 5}, ""),
        ({"every": 0.1}, "every"),
        ({"timezone": "Mars"}, "timezone"),
        ({"overlap": "skipp"}, "overlap"),
        ({"misfire_bound": 0}, "misfire_bound"),
        ({"ends_at": START - HOUR, "starts_at": START}, "ends_at"),
        ({"jitter": -1}, "jitter"),
        ({"priority": 10}, "priority"),
        ({"starts_at": START.replace(tzinfo=None)}, "starts_at"),
        ({"crn": "* * * * *"}, "crn"),
    ):
        with pytest.raises(InvalidInput) as told:
            its.add(**options)
        assert [fault.path for fault in told.value.faults] == [path]
    assert its.taskdb.schedules.list() == []


def test_a_name_is_taken_once_in_a_tenant(its: Site) -> None:
    its.add()
    with pytest.raises(ScheduleExists, match="replace"):
        its.add()
    its.add(tenant="acme")
    with pytest.raises(InvalidInput, match="several tenants"):
        its.taskdb.schedules.get("it")
    assert its.taskdb.schedules.get("it", tenant="acme").tenant == "acme"


def test_a_tenant_that_names_its_schedule_as_anothers_id_keeps_nobody_from_it(its: Site) -> None:
    its.add(tenant="globex")
    theirs = its.taskdb.schedules.get("it").id
    acme = its.taskdb.for_tenant("acme")
    acme.schedules.create(theirs, "plus", {"a": 1}, cron="0 9 * * *", tenant="acme")
    assert its.taskdb.schedules.get(theirs).id == theirs
    assert its.taskdb.schedules.pause(theirs).id == theirs
    assert acme.schedules.get(theirs).tenant == "acme"


def test_a_scoped_client_sees_and_moves_its_own_only(its: Site) -> None:
    its.add(tenant="acme")
    other = its.taskdb.for_tenant("globex")
    assert other.schedules.list() == []
    schedule_id = its.taskdb.schedules.get("it").id
    for refused in (
        other.schedules.get,
        other.schedules.pause,
        other.schedules.resume,
        other.schedules.run_now,
        other.schedules.remove,
        other.schedules.runs,
        other.schedules.due_times,
    ):
        for reference in ("it", schedule_id):
            with pytest.raises(ScheduleNotFound):
                refused(reference)
    with pytest.raises(InvalidInput, match="scope"):
        other.schedules.create("mine", "plus", {"a": 1}, cron="* * * * *", tenant="acme")
    assert other.schedules.create("mine", "plus", {"a": 1}, every=60).tenant == "globex"
    for unscoped in (other.schedules.fire, other.schedules.sync):
        with pytest.raises(InvalidInput, match="all tenants"):
            unscoped()


def test_a_preview_tells_the_next_due_times(its: Site) -> None:
    its.add()
    its.taskdb.schedules.pause("it")
    assert its.taskdb.schedules.due_times("it", count=2) == its.at("10:01", "10:02")
    assert its.taskdb.schedules.preview("*/30 * * * *", count=1) == its.at("10:30")


def test_the_default_client_has_schedules_for_coroutines_as_well(its: Site) -> None:
    set_default(its.taskdb)
    try:
        schedules = default_taskdb().schedules
        schedules.create("it", "plus", {"a": 1}, cron="* * * * *")
        assert asyncio.run(asyncio.to_thread(schedules.pause, "it")).next_due_at is None
        assert schedules.resume("it").next_due_at == its.at("10:01")[0]
        made = asyncio.run(asyncio.to_thread(schedules.run_now, "it"))
        assert [run.task_id for run in schedules.runs("it")] == [made.id]
        assert schedules.preview("* * * * *", count=1) == schedules.due_times("it", count=1)
        assert [one.id for one in schedules.list()] == [schedules.get("it").id]
        schedules.remove("it")
        assert asyncio.run(asyncio.to_thread(schedules.list)) == []
    finally:
        set_default(None)
