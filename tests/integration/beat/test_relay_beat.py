"""The relay in a beat process: several beside each other, killed, stopped, and behind brokers."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.submit_site import REPOSITORY, client, count, ids, messages
from tests.processes import Processes, RunningProcess
from tests.waiting import wait_until

from taskdb import TaskDB, TaskStatus

_PROGRAM = (
    "from taskdb import Settings\n"
    "from taskdb_beat import run_beat\n"
    "raise SystemExit(run_beat(Settings.load()))\n"
)


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path, redis_url: str) -> Iterator[TaskDB]:
    with client(store_url, tmp_path, broker_url=redis_url) as taskdb:
        taskdb._connections.background._breaker = 600
        taskdb._connections.background._trip("a test", 0)
        yield taskdb


def start_beat(processes: Processes, taskdb: TaskDB, **values: str) -> RunningProcess:
    given = {
        "TASKDB_DATABASE_URL": taskdb.settings.store_url,
        "TASKDB_BROKER_URL": taskdb.settings.message_url,
        "TASKDB_DATA_DIR": str(taskdb.settings.data_dir),
        "TASKDB_RELAY_INTERVAL_SECONDS": "0.1",
        "TASKDB_RELAY_BATCH": "50",
    }
    process = processes.python("-c", _PROGRAM, env={**given, **values}, cwd=REPOSITORY)
    process.wait_for_output("beat.started")
    return process


def stop(process: RunningProcess) -> float:
    """Seconds from SIGTERM to an exit in order."""
    started = time.monotonic()
    assert process.terminate() == 0, process.tail()
    return time.monotonic() - started


def test_two_beats_publish_two_thousand_rows_once_each(
    taskdb: TaskDB, processes: Processes
) -> None:
    made = [one.id for one in taskdb.submit_many("echo", range(2_000))]
    beats = [start_beat(processes, taskdb) for _ in range(2)]
    wait_until(lambda: count(taskdb, TaskStatus.QUEUED) == 2_000, 60)
    for beat in beats:
        stop(beat)
    assert sorted(ids(messages(taskdb))) == sorted(made)


def test_the_rows_of_a_killed_beat_are_published_by_another(
    taskdb: TaskDB, processes: Processes
) -> None:
    made = [one.id for one in taskdb.submit_many("echo", range(1_000))]
    killed = start_beat(processes, taskdb, TASKDB_RELAY_LEASE_SECONDS="1")
    wait_until(lambda: count(taskdb, TaskStatus.QUEUED) > 0, 20)
    killed.kill()
    start_beat(processes, taskdb, TASKDB_RELAY_LEASE_SECONDS="1")
    wait_until(lambda: count(taskdb, TaskStatus.QUEUED) == 1_000, 30)
    received = ids(messages(taskdb))
    # Of the batch that it was in, some messages may be out and not marked: they come again.
    assert set(received) == set(made) and len(received) <= 1_000 + 50


def test_scheduled_rows_are_published_soon_after_they_are_due(
    taskdb: TaskDB, processes: Processes
) -> None:
    start_beat(processes, taskdb)
    entity = taskdb.submit_task("echo", delay=1)
    wait_until(lambda: entity.refresh().status is TaskStatus.QUEUED, 10)
    found = entity.refresh()
    late = (found.queued_at - found.run_at).total_seconds()  # type: ignore[operator]
    assert 0 <= late < 1.5


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_beat_stops_within_two_seconds(
    taskdb: TaskDB, processes: Processes, sign: signal.Signals
) -> None:
    taskdb.submit_many("echo", range(100))
    beat = start_beat(processes, taskdb)
    started = time.monotonic()
    beat.signal(sign)
    assert beat.wait() == 0, beat.tail()
    assert time.monotonic() - started < 2
    assert "beat.stopped" in beat.output


def test_a_beat_outlives_a_broker_and_publishes_when_it_is_back(
    sqlite_url: str, tmp_path: Path, processes: Processes, own_redis: Any
) -> None:
    with client(sqlite_url, tmp_path, broker_url=own_redis.url, publish_budget_seconds=1) as taskdb:
        beat = start_beat(processes, taskdb)
        own_redis.stop()
        made = [taskdb.submit_task("echo").id for _ in range(20)]
        beat.wait_for_output("loop.failed")
        own_redis.start()
        wait_until(lambda: count(taskdb, TaskStatus.QUEUED) == 20, 20)
        assert set(ids(messages(taskdb))) == set(made)
        assert "hunter2" not in beat.output


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_beat_behind_a_frozen_broker_stops_in_time_and_loses_nothing(
    request: pytest.FixtureRequest,
    sqlite_url: str,
    tmp_path: Path,
    processes: Processes,
    broker: str,
    record_property: Any,
) -> None:
    server = request.getfixturevalue(f"own_{broker}")
    with client(sqlite_url, tmp_path, broker_url=server.url, publish_budget_seconds=1) as taskdb:
        first = taskdb.submit_task("echo")
        beat = start_beat(processes, taskdb)
        server.freeze()
        taskdb._connections.background._trip("a test", 0)
        made = [taskdb.submit_task("echo").id for _ in range(5)]
        wait_until(lambda: _leased(taskdb) == 5, 20, "the relay to be in the broker")
        took = stop(beat)
        record_property(f"beat stops behind a frozen {broker}", f"{took:.1f} s")
        assert took < 12
        server.thaw()
        start_beat(processes, taskdb)
        wait_until(lambda: count(taskdb, TaskStatus.QUEUED) == 6, 45)
        assert set(ids(messages(taskdb))) == {first.id, *made}


def _leased(taskdb: TaskDB) -> int:
    """Rows that a relay has taken and not given back (SQLite)."""
    far = "julianday(relay_at) - julianday(created_at) > 20.0 / 86400"
    with taskdb.store.database.transaction() as connection:
        sql = f"SELECT count(*) FROM taskdb_task WHERE status = 'CREATED' AND {far}"
        return int(connection.exec_driver_sql(sql).scalar_one())
