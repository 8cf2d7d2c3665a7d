"""Beats that start together, and declarations beside firing: nobody waits in a circle."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.schedule.schedule_site import START, Site
from tests.integration.submit_site import plus, settings

from taskdb import Alarm, Registry, Schedule, TaskDB, task
from taskdb.model.clock import FixedClock

ROUNDS = 15


def registry(count: int) -> Registry:
    found = Registry()
    for number in range(count):
        task(
            f"plus-{number:02}",
            registry=found,
            max_running=number + 1,
            alarm=Alarm(on=("failed",), severity="critical"),
            schedule=Schedule("* * * * *", input={"a": number}),
        )(plus)
    return found


def together(*works: Callable[[], None]) -> list[BaseException]:
    """Run each in a thread, all from one moment on; returns their errors."""
    barrier = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        barrier.wait(30)
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is what the test looks at
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return errors


def declare_all(taskdb: TaskDB) -> None:
    taskdb.limits.declare()
    taskdb.alarms.declare()
    taskdb.schedules.sync()


def test_beats_that_start_together_declare_the_same_without_an_error(
    store_url: str, tmp_path: Path
) -> None:
    """Each round all is new to the database, or changed."""
    sites = [TaskDB(settings(store_url, tmp_path), registry=registry(6)) for _ in range(4)]
    try:
        for number in range(ROUNDS):
            for table in ("taskdb_alarm_policy", "taskdb_limit", "taskdb_schedule"):
                sites[0].store.database.query(f"DELETE FROM {table}", {})
            errors = together(*[lambda one=one: declare_all(one) for one in sites])  # type: ignore[misc]
            assert errors == [], number
            assert len(sites[0].schedules.list()) == 6
            assert len(sites[0].limits.list()) == 6
            found = sites[0].store.database.query("SELECT type FROM taskdb_alarm_policy", {})
            assert len(found) == 6
    finally:
        for one in sites:
            one.close()


@pytest.mark.postgresql
def test_a_declaration_beside_a_beat_that_fires_ends_in_no_deadlock(
    postgresql_url: str, tmp_path: Path
) -> None:
    clock = FixedClock(START)
    sites = [Site(settings(postgresql_url, tmp_path), registry(30), clock) for _ in range(4)]
    declaring, changing, *firing = (one.taskdb for one in sites)
    stop = threading.Event()

    def declare(taskdb: TaskDB) -> None:
        try:
            for number in range(ROUNDS):
                for known in taskdb.types.registry:
                    (one,) = known.schedules
                    object.__setattr__(one, "jitter", timedelta(milliseconds=number))
                taskdb.schedules.sync()
                clock.advance(timedelta(minutes=1))
        finally:
            stop.set()

    def change(taskdb: TaskDB) -> None:
        while not stop.is_set():
            taskdb.schedules.create("mine", "plus-00", {"a": 1}, every=60, replace=True)
            taskdb.schedules.pause("mine")
            taskdb.schedules.run_now("plus-01")

    def fire(taskdb: TaskDB) -> None:
        while not stop.is_set():
            taskdb.schedules.fire(50)

    try:
        declaring.schedules.sync()
        works = [lambda: declare(declaring), lambda: change(changing)]
        works += [lambda one=one: fire(one) for one in firing]  # type: ignore[misc]
        assert together(*works) == []
    finally:
        for site in sites:
            site.taskdb.close()


@pytest.mark.postgresql
def test_a_run_by_hand_beside_a_beat_ends_in_no_deadlock_over_a_unique_key(
    postgresql_url: str, tmp_path: Path
) -> None:
    types = Registry()
    task("once", registry=types, unique="a")(plus)
    clock = FixedClock(START)
    sites = [Site(settings(postgresql_url, tmp_path), types, clock) for _ in range(2)]
    by_hand, beat = (one.taskdb for one in sites)
    stop = threading.Event()

    def run() -> None:
        try:
            for _ in range(10 * ROUNDS):
                clock.advance(timedelta(minutes=1))
                by_hand.schedules.run_now("it")
                by_hand.store.database.query("UPDATE taskdb_task SET status = 'CANCELED'", {})
        finally:
            stop.set()

    def fire() -> None:
        while not stop.is_set():
            beat.schedules.fire()

    try:
        sites[0].add(type="once")
        assert together(run, fire) == []
    finally:
        for site in sites:
            site.taskdb.close()
