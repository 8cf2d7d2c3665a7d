"""Several beats over many schedules: every due time fires once, whatever happens to them."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import pytest
from tests.integration.schedule.schedule_process import FileClock
from tests.integration.schedule.schedule_site import START, registry
from tests.integration.submit_site import REPOSITORY, settings
from tests.processes import Processes, RunningProcess
from tests.waiting import wait_until

from taskdb import TaskDB

MINUTE = timedelta(minutes=1)
MODULE = "tests.integration.schedule.schedule_process"


class Hour:
    """Some beats, some schedules that are due every minute, and the clock of them all."""

    def __init__(self, store_url: str, folder: Path, processes: Processes) -> None:
        self._url, self._folder, self._processes = store_url, folder, processes
        self.clock = FileClock(folder / "clock")
        self.clock.set(START)
        self.now = START
        self.taskdb = TaskDB(
            settings(store_url, folder), registry=registry(), clock=FileClock(folder / "clock")
        )

    def add(self, count: int) -> None:
        for number in range(count):
            self.taskdb.schedules.create(
                f"schedule-{number}", "plus", {"a": number}, cron="* * * * *", misfire_grace=3600
            )

    def start(self) -> RunningProcess:
        words = ("-m", MODULE, self._url, str(self._folder), str(self._folder / "clock"))
        return self._processes.python(*words, env={"PYTHONPATH": str(REPOSITORY)})

    def move(self, by: timedelta) -> None:
        self.now += by
        self.clock.set(self.now)

    def count(self, sql: str) -> int:
        return int(self.taskdb.store.database.query(sql, {}, writes=False)[0]["n"])

    def fired(self) -> int:
        return self.count("SELECT count(*) AS n FROM taskdb_schedule_run WHERE outcome = 'fired'")

    def check(self, schedules: int, minutes: int) -> None:
        """Each due time has one run and one task of its own, and there is no other."""
        wanted = schedules * minutes
        wait_until(lambda: self.fired() >= wanted, 60, lambda: f"{self.fired()} of {wanted}")
        distinct = "SELECT count(DISTINCT {}) AS n FROM taskdb_schedule_run WHERE outcome = 'fired'"
        assert self.count("SELECT count(*) AS n FROM taskdb_schedule_run") == wanted
        assert self.count(distinct.format("task_id")) == wanted
        assert self.count("SELECT count(*) AS n FROM taskdb_task") == wanted
        assert self.count(
            "SELECT count(*) AS n FROM taskdb_task JOIN taskdb_schedule_run"
            " ON task_id = taskdb_task.id"
        ) == wanted  # fmt: skip
        times: list[datetime] = [run.due_at for run in self.taskdb.schedules.runs(
            "schedule-0", limit=1_000)]  # fmt: skip
        first = START.replace(second=0) + MINUTE
        assert times[::-1] == [first + number * MINUTE for number in range(minutes)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.taskdb.close()


def run(hour: Hour, schedules: int, minutes: int) -> None:
    """Let the minutes pass in steps of 20 s, kill a beat in a third and step back in two thirds."""
    hour.add(schedules)
    beats = [hour.start() for _ in range(3)]
    for beat in beats:
        beat.wait_for_output("ready")
    for minute in range(minutes):
        if minute == minutes * 2 // 3:
            hour.move(-timedelta(seconds=90))
            # They look at the past for a while.
            time.sleep(0.05)
            hour.move(timedelta(seconds=90))
        for _ in range(3):
            hour.move(timedelta(seconds=20))
        if minute == minutes // 3:
            # In the middle of it: the first of this minute are fired, and not all are.
            done = hour.fired()
            wait_until(lambda done=done: hour.fired() > done)  # type: ignore[misc]
            beats.pop().kill()
        # Some minutes are fired at once, as after a pause of the machine.
        if minute % 5 == 0:
            wanted = schedules * (minute + 1)
            wait_until(lambda wanted=wanted: hour.fired() >= wanted, 60)  # type: ignore[misc]
    hour.check(schedules, minutes)
    assert all(beat.is_running for beat in beats)


@pytest.mark.postgresql
def test_three_beats_fire_each_of_12000_due_times_once(
    postgresql_url: str, tmp_path: Path, processes: Processes
) -> None:
    with Hour(postgresql_url, tmp_path, processes) as hour:
        run(hour, schedules=200, minutes=60)


def test_three_beats_on_one_file_fire_each_due_time_once(
    sqlite_url: str, tmp_path: Path, processes: Processes
) -> None:
    with Hour(sqlite_url, tmp_path, processes) as hour:
        run(hour, schedules=20, minutes=12)
