"""Schedules that code and settings declare."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.schedule.schedule_site import MINUTE, START, site
from tests.integration.submit_site import plus, settings
from tests.servers import PostgreSQL

from taskdb import DatabaseError, InvalidInput, Registry, Schedule, SettingsError, task
from taskdb.errors import ScheduleExists
from taskdb_beat.schedule.schedule import FireSchedules


def declaring(schedule: object) -> Registry:
    found = Registry()
    task("plus", registry=found, schedule=schedule)(plus)  # type: ignore[arg-type]
    return found


def test_what_code_declares_is_made_changed_and_removed(store_url: str, tmp_path: Path) -> None:
    ones = [Schedule("* * * * *", input={"a": 1}), Schedule(every=60, input={"a": 2}, name="own")]
    with site(store_url, tmp_path, declaring(ones)) as its:
        assert sorted(its.taskdb.schedules.sync().code.added) == ["own", "plus"]
        its.taskdb.schedules.create("mine", "plus", {"a": 3}, cron="* * * * *")
        its.taskdb.schedules.pause("own")
        assert its.fire(MINUTE) == 2
    changed = Schedule(every=30, input={"a": 4}, name="own")
    with site(store_url, tmp_path, declaring(changed)) as its:
        synced = its.taskdb.schedules.sync().code
        assert (synced.changed, synced.removed, synced.added) == (("own",), ("plus",), ())
        found = {one.name: one for one in its.taskdb.schedules.list()}
        assert {name: str(one.origin) for name, one in found.items()} == {
            "own": "code",
            "mine": "person",
        }
        # A person has paused it, and it stays so.
        assert not found["own"].is_enabled
        assert its.taskdb.schedules.sync().code.changed == ()
        with pytest.raises(InvalidInput, match="declared"):
            its.taskdb.schedules.remove("own")
        with pytest.raises(ScheduleExists, match="declared"):
            its.taskdb.schedules.create("own", "plus", {"a": 1}, every=60, replace=True)


def test_a_sync_again_keeps_what_is_due(sqlite_url: str, tmp_path: Path) -> None:
    with site(sqlite_url, tmp_path, declaring(Schedule(every=90, input={"a": 1}))) as its:
        its.taskdb.schedules.sync()
        its.clock.advance(MINUTE)
        its.taskdb.schedules.sync()
        assert its.fire(MINUTE / 2) == 1


def test_a_process_that_knows_no_type_removes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    with site(sqlite_url, tmp_path, declaring("* * * * *")) as its:
        # Its input has no default.
        assert [one.name for one in its.taskdb.schedules.sync().code.refused] == ["plus"]
    with site(sqlite_url, tmp_path, declaring(Schedule(every=9, input={"a": 1}))) as its:
        its.taskdb.schedules.sync()
    with site(sqlite_url, tmp_path, Registry()) as its:
        its.taskdb.types.registry.clear()
        assert its.taskdb.schedules.sync().code.removed == ()


def test_one_wrong_declaration_stops_no_other_and_is_listed(store_url: str, tmp_path: Path) -> None:
    ones = [
        Schedule("* * * * *", input={"a": 1}, name="before"),
        Schedule("* * * * *", input={"a": "many"}, name="wrong"),
        Schedule("* * * * *", input={"a": 2}, name="behind"),
    ]
    given = [
        {"name": "unknown", "type": "nope", "every": 60},
        {"name": "sound", "type": "plus", "every": 60, "input": {"a": 3}},
    ]
    with site(store_url, tmp_path, declaring(ones), schedules=json.dumps(given)) as its:
        synced = its.taskdb.schedules.sync()
        assert synced.code.added == ("before", "behind")
        assert synced.settings.added == ("sound",)
        told = {one.name: (str(one.origin), one.type) for one in its.taskdb.schedules.refused()}
        assert told == {"wrong": ("code", "plus"), "unknown": ("settings", "nope")}
        assert its.taskdb.for_tenant("acme").schedules.refused() == []
        assert [one.name for one in its.taskdb.schedules.check_declared()] == ["wrong", "unknown"]
        assert its.fire(MINUTE) == 3


def test_of_two_types_that_declare_one_name_the_second_is_refused(
    store_url: str, tmp_path: Path
) -> None:
    types = Registry()
    for name in ("plus", "sum"):
        task(name, registry=types, schedule=Schedule(every=60, input={"a": 1}, name="x"))(plus)
    with site(store_url, tmp_path, types) as its:
        for _ in range(2):
            synced = its.taskdb.schedules.sync().code
            assert synced.changed == ()
            assert [(one.type, "plus declares" in one.reason) for one in synced.refused] == [
                ("sum", True)
            ]
        assert its.taskdb.schedules.get("x").type == "plus"


def test_a_beat_that_starts_before_its_database_declares_once_it_is_there(
    own_postgresql: PostgreSQL, tmp_path: Path
) -> None:
    types = Registry()
    declared = Schedule(every=60, input={"a": 1})
    task("plus", registry=types, max_running=1, schedule=declared)(plus)
    with site(own_postgresql.url, tmp_path, types) as its:
        beat = FireSchedules(its.taskdb)
        own_postgresql.stop()
        with pytest.raises(DatabaseError):
            beat.run_once()
        own_postgresql.start()
        beat.run_once()
        assert len(its.taskdb.schedules.list()) == len(its.taskdb.limits.list()) == 1


def test_a_declaration_that_turns_wrong_leaves_its_row_as_it_was(
    store_url: str, tmp_path: Path
) -> None:
    with site(store_url, tmp_path, declaring(Schedule(every=60, input={"a": 1}))) as its:
        its.taskdb.schedules.sync()
    with site(store_url, tmp_path, declaring(Schedule(every=30, input={"a": "many"}))) as its:
        assert its.taskdb.schedules.sync().code.removed == ()
        assert its.fire(MINUTE) == 1
        assert len(its.taskdb.schedules.refused()) == 1
    with site(store_url, tmp_path, declaring(Schedule(every=30, input={"a": 2}))) as its:
        assert its.taskdb.schedules.sync().code.changed == ("plus",)
        assert its.taskdb.schedules.refused() == []


@pytest.mark.parametrize("moment", [START + MINUTE, START + 3 * MINUTE])
def test_what_is_declared_for_one_moment_fires_once_however_often_it_is_declared(
    store_url: str, tmp_path: Path, moment: datetime
) -> None:
    """Declared, removed and declared again: beats of two deployments take turns."""
    with site(store_url, tmp_path, declaring(Schedule(at=moment, input={"a": 1}))) as its:
        its.taskdb.schedules.sync()
        fired = its.fire(5 * MINUTE)
        clock = its.clock
    for _ in range(2):
        for schedule in ((), Schedule(at=moment, input={"a": 1}, queue="other")):
            with site(store_url, tmp_path, declaring(schedule)) as its:
                its.clock.at = clock.at
                its.taskdb.schedules.sync()
                fired += its.fire(MINUTE)
                clock = its.clock
    assert fired == 1


def test_a_declared_moment_that_moves_in_the_past_fires_no_second_time(
    store_url: str, tmp_path: Path
) -> None:
    fired = 0
    for seconds in range(3):
        moment = START + timedelta(seconds=seconds)
        with site(store_url, tmp_path, declaring(Schedule(at=moment, input={"a": 1}))) as its:
            its.clock.at = START + MINUTE
            its.taskdb.schedules.sync()
            fired += its.fire()
    assert fired == 1
    coming = declaring(Schedule(at=START + 2 * MINUTE, input={"a": 1}))
    with site(store_url, tmp_path, coming) as its:
        its.taskdb.schedules.sync()
        assert its.fire(3 * MINUTE) == 1


def test_a_run_by_hand_does_not_stand_for_a_declared_moment(store_url: str, tmp_path: Path) -> None:
    moment = START + MINUTE
    with site(store_url, tmp_path, declaring(Schedule(at=moment, input={"a": 1}))) as its:
        its.taskdb.schedules.sync()
        its.taskdb.schedules.run_now("plus")
        # No beat comes until the moment has passed, and then the declaration is another one.
    changed = Schedule(at=moment, input={"a": 1}, timezone="Asia/Tokyo")
    with site(store_url, tmp_path, declaring(changed)) as its:
        its.clock.at = moment + MINUTE
        its.taskdb.schedules.sync()
        assert its.fire() == 1
        its.taskdb.schedules.sync()
        assert its.fire(MINUTE) == 0


def test_a_declaration_that_moves_from_the_settings_into_the_code_is_followed_at_once(
    store_url: str, tmp_path: Path
) -> None:
    given = json.dumps([{"name": "plus", "type": "plus", "every": 60, "input": {"a": 1}}])
    with site(store_url, tmp_path, declaring(()), schedules=given) as its:
        its.taskdb.schedules.sync()
    with site(store_url, tmp_path, declaring(Schedule(every=60, input={"a": 1}))) as its:
        synced = its.taskdb.schedules.sync()
        assert (synced.code.added, synced.settings.removed) == (("plus",), ("plus",))
        assert synced.code.taken == synced.code.refused == ()
        assert its.taskdb.schedules.refused() == []
        assert its.fire(MINUTE) == 1


def test_a_row_that_cannot_be_written_stops_the_declaration_of_no_other(
    sqlite_url: str, tmp_path: Path
) -> None:
    def both(seconds: int) -> Registry:
        return declaring(
            [Schedule(every=seconds, input={"a": 1}, name=name) for name in ("bad", "good")]
        )

    with site(sqlite_url, tmp_path, both(60)) as its:
        its.taskdb.schedules.sync()
        its.write(
            "CREATE TRIGGER refuses BEFORE UPDATE ON taskdb_schedule WHEN NEW.name = 'bad'"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    with site(sqlite_url, tmp_path, both(70)) as its:
        synced = its.taskdb.schedules.sync().code
        assert (synced.changed, synced.removed) == (("good",), ())
        assert [one.name for one in its.taskdb.schedules.refused()] == ["bad"]


def test_settings_declare_and_leave_a_name_that_is_taken(sqlite_url: str, tmp_path: Path) -> None:
    given = [
        {"name": "nightly", "type": "plus", "cron": "30 2 * * *", "input": {"a": 1}, "jitter": 60},
        {"name": "mine", "type": "plus", "every": 60, "input": {"a": 1}},
    ]
    with site(sqlite_url, tmp_path, schedules=json.dumps(given)) as its:
        its.add("mine")
        synced = its.taskdb.schedules.sync().settings
        assert (synced.added, synced.taken) == (("nightly",), ("mine",))
        assert its.taskdb.schedules.get("mine").origin == "person"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"cron": "* *", "input": {"a": 1}}, "five fields"),
        ({"crn": "* * * * *"}, "did you mean 'cron'"),
        ({"at": "soon"}, "not a moment with a zone"),
        ({"every": 60}, "a: "),
        ({"every": 60, "input": {"a": 1}, "deadline": 0}, "too short"),
    ],
)
def test_wrong_settings_are_refused_in_words(
    sqlite_url: str, tmp_path: Path, given: dict[str, object], told: str
) -> None:
    declared = json.dumps([{"name": "x", "type": "plus", **given}])
    with site(sqlite_url, tmp_path, schedules=declared) as its:
        (refused,) = its.taskdb.schedules.sync().settings.refused
        assert told in refused.reason


def test_settings_without_a_name_are_told(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises((SettingsError, ValueError), match="needs its name and type"):
        settings(sqlite_url, tmp_path, schedules=json.dumps([{"name": "x"}]))


@pytest.mark.parametrize("schedule", [5, [5], {"cron": "* * * * *"}])
def test_a_schedule_of_a_type_is_one(schedule: object) -> None:
    with pytest.raises((TypeError, InvalidInput)):
        declaring(schedule)
