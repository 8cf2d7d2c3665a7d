"""Thousands of tasks while workers are killed and brokers are away: none is lost."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.integration.worker_site import Site, embedded
from tests.processes import RunningProcess
from tests.servers import PostgreSQL, Redis
from tests.waiting import wait_until

pytestmark = pytest.mark.long

TASKS = 3_000
QUICK_LEASES = {"worker_lease_seconds": 2, "heartbeat_seconds": 0.5, "rescue_interval_seconds": 0.3}


def done(site: Site) -> int:
    return site.statuses()["COMPLETED"]


def left(site: Site) -> str:
    """What is not done yet, for the message of a test that waited in vain."""
    rows = site.query("SELECT id FROM taskdb_task WHERE status <> 'COMPLETED' LIMIT 5")
    moves = [site.client.task_history(str(row["id"])) for row in rows]
    return f"{site.statuses()} {moves}"


@pytest.mark.slow
def test_no_task_of_the_embedded_mode_is_lost_when_its_worker_is_killed_twice(
    sqlite_template: Path, tmp_path: Path
) -> None:
    options = json.dumps({"broker_transport_options": {"lease_seconds": 2}})
    with embedded(sqlite_template, tmp_path, celery=options, **QUICK_LEASES) as site:
        site.start_beat()
        began = time.monotonic()
        site.client.submit_many("ends.prefixed", [{"number": n} for n in range(TASKS)])
        for share in (TASKS // 5, TASKS // 2):
            worker = site.start_worker("-c", "2")
            wait_for_share(site, share)
            worker.kill_all()
            assert done(site) < TASKS
        site.start_worker("-c", "2")
        wait_until(lambda: done(site) == TASKS, 90, lambda: left(site))
        print(f"{TASKS} tasks, two kills: {TASKS / (time.monotonic() - began):.0f} a second")

        assert site.statuses() == {"COMPLETED": TASKS}
        assert_legal(site)


def wait_for_share(site: Site, count: int) -> None:
    wait_until(lambda: done(site) >= count, 60, lambda: left(site))


def assert_legal(site: Site) -> None:
    """What a row says is what its history says, for every row."""
    crashed = 0
    for row in site.query("SELECT id, attempt, crashes, result FROM taskdb_task"):
        moves = site.moves(str(row["id"]))
        assert moves[0] == "CREATED" and moves[-1] == "COMPLETED"
        assert moves.count("COMPLETED") == 1
        assert moves.count("STARTED") == row["attempt"] == 1 + row["crashes"]
        assert moves.count("ERRORED") == row["crashes"]
        crashed += row["crashes"]
    runs = Counter(run.task_id for run in site.runs())
    assert len(runs) == TASKS
    assert sum(runs.values()) <= TASKS + crashed


@pytest.mark.slow
def test_the_embedded_mode_runs_without_interruption(sqlite_template: Path, tmp_path: Path) -> None:
    with embedded(sqlite_template, tmp_path) as site:
        ids = [site.submit("ends.prefixed", {"number": 0}).id]
        site.client.submit_many("ends.prefixed", [{"number": n} for n in range(1, TASKS)])
        worker = site.start_worker("-c", "2")
        site.settled(ids[0])
        start, began = done(site), time.monotonic()
        wait_until(lambda: done(site) == TASKS, 60, lambda: left(site))
        rate = (TASKS - start) / (time.monotonic() - began)
        print(f"{rate:.0f} tasks a second")

        assert rate > 50, f"{rate:.0f} tasks a second"
        assert_quiet(worker)


def assert_quiet(worker: RunningProcess) -> None:
    assert "[error" not in worker.output and "Traceback" not in worker.output


def test_what_was_submitted_while_the_broker_was_down_runs_once(
    own_redis: Redis, own_postgresql: PostgreSQL, tmp_path: Path
) -> None:
    count = 1_000
    site = Site(tmp_path, database_url=own_postgresql.url, broker_url=own_redis.url)
    try:
        own_redis.kill()
        began = time.monotonic()
        for n in range(count // 2):
            assert site.submit("ends.prefixed", {"number": n}).status == "CREATED"
        site.client.submit_many("ends.prefixed", [{"number": n} for n in range(count // 2)])
        print(f"{count} submitted without a broker in {time.monotonic() - began:.1f} s")
        own_redis.start()
        site.start_worker("-c", "2")
        site.start_beat()
        wait_until(lambda: done(site) == count, 60, lambda: left(site))

        assert site.statuses() == {"COMPLETED": count}
        runs = Counter(run.task_id for run in site.runs())
        assert len(runs) == count and set(runs.values()) == {1}
        assert site.query("SELECT max(attempt) AS most FROM taskdb_task") == [{"most": 1}]
        site.close()
    finally:
        site.processes.close()
        site.client.close()
