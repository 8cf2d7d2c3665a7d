"""Schedules that code and settings declare."""

import json
from pathlib import Path

import pytest
from tests.integration.schedule_site import MINUTE, site
from tests.integration.submit_site import plus

from taskdb import InvalidInput, Registry, Schedule, ScheduleExists, SettingsError, task


def declaring(schedule: object) -> Registry:
    found = Registry()
    task("plus", registry=found, schedule=schedule)(plus)  # type: ignore[arg-type]
    return found


def test_what_code_declares_is_made_changed_and_removed(store_url: str, tmp_path: Path) -> None:
    ones = [Schedule("* * * * *", input={"a": 1}), Schedule(every=60, input={"a": 2}, name="own")]
    with site(store_url, tmp_path, declaring(ones)) as its:
        assert sorted(its.taskdb.sync_schedules().code.added) == ["own", "plus"]
        its.taskdb.add_schedule("mine", "plus", {"a": 3}, cron="* * * * *")
        its.taskdb.pause_schedule("own")
        assert its.fire(MINUTE) == 2
    changed = Schedule(every=30, input={"a": 4}, name="own")
    with site(store_url, tmp_path, declaring(changed)) as its:
        synced = its.taskdb.sync_schedules().code
        assert (synced.changed, synced.removed, synced.added) == (("own",), ("plus",), ())
        found = {one.name: one for one in its.taskdb.list_schedules()}
        assert {name: str(one.origin) for name, one in found.items()} == {
            "own": "code",
            "mine": "person",
        }
        # A person has paused it, and it stays so.
        assert not found["own"].is_enabled
        assert its.taskdb.sync_schedules().code.changed == ()
        with pytest.raises(InvalidInput, match="declared"):
            its.taskdb.remove_schedule("own")
        with pytest.raises(ScheduleExists, match="declared"):
            its.taskdb.add_schedule("own", "plus", {"a": 1}, every=60, replace=True)


def test_a_sync_again_keeps_what_is_due(sqlite_url: str, tmp_path: Path) -> None:
    with site(sqlite_url, tmp_path, declaring(Schedule(every=90, input={"a": 1}))) as its:
        its.taskdb.sync_schedules()
        its.clock.advance(MINUTE)
        its.taskdb.sync_schedules()
        assert its.fire(MINUTE / 2) == 1


def test_a_process_that_knows_no_type_removes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    with site(sqlite_url, tmp_path, declaring("* * * * *")) as its, pytest.raises(InvalidInput):
        # Its input has no default.
        its.taskdb.sync_schedules()
    with site(sqlite_url, tmp_path, declaring(Schedule(every=9, input={"a": 1}))) as its:
        its.taskdb.sync_schedules()
    with site(sqlite_url, tmp_path, Registry()) as its:
        its.taskdb.registry.clear()
        assert its.taskdb.sync_schedules().code.removed == ()


def test_settings_declare_and_leave_a_name_that_is_taken(sqlite_url: str, tmp_path: Path) -> None:
    given = [
        {"name": "nightly", "type": "plus", "cron": "30 2 * * *", "input": {"a": 1}, "jitter": 60},
        {"name": "mine", "type": "plus", "every": 60, "input": {"a": 1}},
    ]
    with site(sqlite_url, tmp_path, schedules=json.dumps(given)) as its:
        its.add("mine")
        synced = its.taskdb.sync_schedules().settings
        assert (synced.added, synced.taken) == (("nightly",), ("mine",))
        assert its.taskdb.get_schedule("mine").origin == "person"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([{"name": "x"}], "needs its name and type"),
        ([{"name": "x", "type": "plus", "cron": "* *", "input": {"a": 1}}], "five fields"),
        ([{"name": "x", "type": "plus", "crn": "* * * * *"}], "did you mean 'cron'"),
        ([{"name": "x", "type": "plus", "at": "soon"}], "no moment with a zone"),
        ([{"name": "x", "type": "plus", "every": 60}], "a: "),
    ],
)
def test_wrong_settings_are_told(sqlite_url: str, tmp_path: Path, given: object, told: str) -> None:
    with (
        pytest.raises((SettingsError, ValueError), match=told),
        site(sqlite_url, tmp_path, schedules=json.dumps(given)) as its,
    ):
        its.taskdb.sync_schedules()


@pytest.mark.parametrize("schedule", [5, [5], {"cron": "* * * * *"}])
def test_a_schedule_of_a_type_is_one(schedule: object) -> None:
    with pytest.raises((TypeError, InvalidInput)):
        declaring(schedule)
