"""Schedules that cannot be fired, whatever is wrong with their rows: all others fire."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import text
from tests.integration.schedule.schedule_site import MINUTE, Site, site
from tests.store.poison import allow, aside, let_be_due, refuse

from taskdb import InvalidInput, Schedule
from taskdb.model.schedule import Origin, ScheduleEntity
from taskdb.store.contract import EVERYONE
from taskdb.store.schedule.schedule import Definition
from taskdb_beat.schedule.schedule import FireSchedules


@pytest.fixture
def its(store_url: str, tmp_path: Path) -> Iterator[Site]:
    with site(store_url, tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("when", "table", "verb"),
    [
        ("NEW.name = 'bad'", "taskdb_task", "INSERT"),
        ("OLD.name = 'bad'", "taskdb_schedule", "UPDATE"),
    ],
)
def test_a_schedule_that_the_database_refuses_keeps_no_other_from_firing(
    its: Site, when: str, table: str, verb: str
) -> None:
    its.add("a")
    bad = its.add("bad")
    its.add("b")
    store = its.taskdb.store
    refuse(store, when, table, verb)
    assert its.fire(MINUTE) == 2
    assert {one.name for one in its.tasks()} == {"a", "b"}
    assert aside(store) == {("schedule", bad)}
    assert its.fire(timedelta(seconds=5)) == 0
    # What was set aside does not make the loop turn without a pause.
    assert FireSchedules(its.taskdb).seconds_to_due() > 0.2
    allow(store, table)
    let_be_due(store)
    assert its.fire() == 1
    FireSchedules(its.taskdb).run_once()
    assert aside(store) == set()


def test_a_schedule_whose_input_cannot_be_read_submits_nothing(its: Site) -> None:
    its.add("a")
    bad = its.add("bad")
    digits = "1" * 5_000
    its.write(f"UPDATE taskdb_schedule SET input = '[{digits}]' WHERE name = 'bad'")
    assert its.fire(MINUTE) == 1
    assert {one.name for one in its.tasks()} == {"a"}
    assert aside(its.taskdb.store) == {("schedule", bad)}
    with pytest.raises(InvalidInput, match="cannot be read"):
        its.taskdb.schedules.run_now("bad")


def test_an_input_that_is_no_json_keeps_no_other_from_firing(
    sqlite_url: str, tmp_path: Path
) -> None:
    with site(sqlite_url, tmp_path) as its:
        its.add("a")
        bad = its.add("bad")
        its.write("UPDATE taskdb_schedule SET input = '{\"a\"' WHERE name = 'bad'")
        assert its.fire(MINUTE) == 1
        assert aside(its.taskdb.store) == {("schedule", bad)}


def test_a_celery_schedule_that_the_database_refuses_keeps_no_other_from_being_sent(
    its: Site,
) -> None:
    store = its.taskdb.store
    for name in ("bad", "good"):
        one = Schedule("* * * * *")
        store.schedules.add(
            Definition(name, "", "foreign", None, one, Origin.CELERY, message={"n": 1}), EVERYONE
        )
    bad = its.taskdb.schedules.get("bad").id
    refuse(store, "OLD.name = 'bad'", "taskdb_schedule")
    its.clock.advance(MINUTE)
    sent: list[str] = []

    def send(one: ScheduleEntity, _due: datetime) -> None:
        sent.append(one.name)

    while store.firings.send_due(send).is_full:
        pass
    assert sent.count("good") == 1
    assert aside(store) == {("schedule", bad)}


def test_a_schedule_that_a_stranger_has_locked_makes_no_loop_turn_without_a_pause(
    postgresql_url: str, tmp_path: Path
) -> None:
    with site(postgresql_url, tmp_path) as its:
        its.add("a")
        its.clock.advance(MINUTE)
        locked, may_end = Event(), Event()

        def stranger() -> None:
            with its.taskdb.store.database.transaction() as connection:
                connection.execute(text("SELECT * FROM taskdb_schedule FOR UPDATE"))
                locked.set()
                assert may_end.wait(30)

        thread = Thread(target=stranger)
        thread.start()
        assert locked.wait(30)
        fire = FireSchedules(its.taskdb)
        found: list[Any] = [fire.run_once(), fire.seconds_to_due()]
        may_end.set()
        thread.join()
        assert found[0] is False and found[1] >= 0.2
        assert its.fire() == 1


def test_the_doctor_lists_schedules_that_cannot_be_fired(its: Site) -> None:
    its.add("bad")
    its.write("UPDATE taskdb_schedule SET cron = '99 * * * *'")
    its.fire(MINUTE)
    lease = timedelta(seconds=30)
    found = {one.name: one for one in its.taskdb.store.doctor.drifts(lease=lease)}
    assert found["schedule_broken"].examples == ("bad",)
