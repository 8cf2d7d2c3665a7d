"""Beats as processes: `taskdb beat`, and Celery's own command over the database."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.schedules import crontab, schedule, solar
from tests.integration.submit_site import REPOSITORY, client, depth
from tests.processes import Processes, RunningProcess
from tests.waiting import wait_until

from taskdb import InvalidInput, TaskDB
from taskdb.celery.embedded.broker import broker_url
from taskdb_beat.scheduler import when

MODULE = "tests.integration.cli_tasks"
ENTRIES = {
    "ours": {"task": "echo", "schedule": 1.0, "kwargs": {"n": 1}, "options": {"queue": "fast"}},
    "plain": {"task": "foreign.ping", "schedule": 1.0, "args": [1], "options": {"queue": "plain"}},
    "wrong": {"task": "echo", "schedule": 1.0, "args": [1]},
}


def start(
    processes: Processes, url: str, folder: Path, *words: str, **values: Any
) -> RunningProcess:
    environment = {
        "PYTHONPATH": str(REPOSITORY),
        "TASKDB_DATABASE_URL": url,
        "TASKDB_BROKER_URL": broker_url(folder / "messages.sqlite3"),
        "TASKDB_DATA_DIR": str(folder),
        "TASKDB_TASK_MODULES": MODULE,
        **values,
    }
    return processes.python("-m", *words, env=environment, cwd=folder)


def fired(taskdb: TaskDB, name: str) -> list[str]:
    """Due times that were fired."""
    listed = {one.name for one in taskdb.schedules.list()}
    runs = taskdb.schedules.runs(name) if name in listed else []
    return [run.due_at.isoformat() for run in runs if run.outcome == "fired"]


def test_beats_of_both_kinds_fire_what_database_app_and_settings_say(
    postgresql_url: str, tmp_path: Path, processes: Processes
) -> None:
    words = ("celery", "-A", "taskdb_worker.app", "beat", "-S", "taskdb_beat:DatabaseScheduler")
    declared = [{"name": "often", "type": "echo", "every": 1, "input": {}}]
    given = {
        "TASKDB_CELERY": json.dumps({"beat_schedule": ENTRIES}),
        "TASKDB_SCHEDULES": json.dumps(declared),
    }
    beats = [
        start(processes, postgresql_url, tmp_path, *words, **given),
        start(processes, postgresql_url, tmp_path, "taskdb.cli", "beat", **given),
    ]
    with client(postgresql_url, tmp_path) as taskdb:
        for name in ("plain", "ours", "often"):
            wait_until(lambda name=name: len(fired(taskdb, name)) >= 2, 30, beats[0].tail)  # type: ignore[misc]
        # One that is made while they run.
        taskdb.schedules.create("late", "echo", {}, every=1)
        wait_until(lambda: fired(taskdb, "late"), 5)
        assert {one.name: str(one.origin) for one in taskdb.schedules.list()} == {
            "late": "person",
            "often": "settings",
            "ours": "celery",
            "plain": "celery",
        }
        for beat in beats:
            assert beat.terminate() == 0
        made = taskdb.list_tasks(type="echo", limit=1_000)
        names = [one.name for one in made]
        for name in ("ours", "often"):
            assert names.count(name) == len(fired(taskdb, name))
        assert {one.queue for one in made if one.name == "ours"} == {"fast"}
        assert depth(taskdb.settings.message_url, "plain") == len(fired(taskdb, "plain"))
    assert "pass kwargs, the fields of its input" in beats[0].output
    assert not list(tmp_path.glob("celerybeat-schedule*"))


def test_a_plain_task_whose_queue_may_not_be_made_holds_up_no_other_schedule(
    sqlite_url: str, tmp_path: Path, redis_url: str, processes: Processes
) -> None:
    astray = {"task": "foreign.ping", "schedule": 1.0, "options": {"queue": "nowhere"}}
    celery = {
        "beat_schedule": {"astray": astray, "plain": ENTRIES["plain"]},
        "task_create_missing_queues": False,
        "task_queues": {"taskdb": {}, "plain": {}, "orders": {}},
    }
    given = {"TASKDB_CELERY": json.dumps(celery), "TASKDB_BROKER_URL": redis_url}
    words = ("celery", "-A", "taskdb_worker.app", "beat", "-S", "taskdb_beat:DatabaseScheduler")
    beat = start(processes, sqlite_url, tmp_path, *words, **given)
    with client(sqlite_url, tmp_path) as taskdb:
        wait_until(lambda: len(fired(taskdb, "plain")) >= 2, 30, beat.tail)
        [wrong] = [one for one in taskdb.schedules.list() if one.name == "astray"]
        assert "nowhere" in (wrong.last_error or "")
    assert beat.terminate() == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (crontab(), {"cron": "* * * * *", "timezone": "Europe/Berlin"}),
        (
            crontab(minute="*/5", hour="8-10, 12", day_of_week="mon-fri"),
            {"cron": "*/5 8-10,12 * * mon-fri", "timezone": "Europe/Berlin"},
        ),
        (schedule(timedelta(seconds=9)), {"every": timedelta(seconds=9)}),
        (90, {"every": 90}),
        (timedelta(hours=1), {"every": timedelta(hours=1)}),
    ],
)
def test_an_entry_of_celery_recurs_as_it_did(given: Any, expected: dict[str, Any]) -> None:
    assert when(given, "Europe/Berlin") == expected


@pytest.mark.parametrize("given", [object(), None, True, "* * * * *"])
def test_what_would_recur_otherwise_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput):
        when(given, "UTC")


def test_the_sun_is_refused() -> None:
    assert solar is not None
    with pytest.raises(InvalidInput):
        when(solar.__new__(solar), "UTC")
