"""kill -9 at points of a task's life: no row ever lies, and each ends as it should."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from tests.integration.worker.run.worker_stops import AFTER_ACK, POINTS, STOP
from tests.integration.worker_site import COMBINATIONS, MODULE, Site, site_of
from tests.processes import RunningProcess
from tests.waiting import wait_until

C, S, E, DONE = "CREATED", "STARTED", "ERRORED", "COMPLETED"
QUICK_RETURN = {
    "lease_seconds": 1,
    "visibility_timeout": 2,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}
"""A message of a dead worker comes back after this; its task must not depend on it."""
STANDS_AT = {
    "before the claim": "QUEUED",
    "in the body": S,
    "before the outcome": S,
    "after the outcome": DONE,
    AFTER_ACK: DONE,
}


@pytest.fixture(params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    settings: dict[str, Any] = {
        "task_modules": f"{MODULE},tests.integration.worker.run.worker_stops",
        "celery": json.dumps({"broker_transport_options": QUICK_RETURN}),
        "worker_lease_seconds": 2,
    }
    with site_of(request.param, request, tmp_path_factory, **settings) as site:
        yield site
        # Stopping in order is proven elsewhere, and takes seconds.
        for process in site.processes.started:
            if process.is_running:
                process.kill_all()


def stopped_task(site: Site, point: str) -> tuple[RunningProcess, str, int]:
    """A worker whose child stands at the point, with the task and the child."""
    worker = site.start_worker("-c", "1", env={STOP: point})
    task_id = site.submit("ends.returns", {"value": 1}).id
    path = site.folder / "stopped"
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    site.wait_for(task_id, STANDS_AT[point])
    return worker, task_id, int(path.read_text())


EXPECTED = {
    # Nobody had run it: a message that was lost, and no attempt.
    "before the claim": ((C, C, S, DONE), 0),
    "in the body": ((C, S, E, S, DONE), 1),
    "before the outcome": ((C, S, E, S, DONE), 1),
    "after the outcome": ((C, S, DONE), 0),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_child_that_is_killed_leaves_a_row_that_goes_on(site: Site, point: str) -> None:
    _, task_id, child = stopped_task(site, point)
    site.start_beat()
    os.kill(child, signal.SIGKILL)

    moves, crashes = EXPECTED[point]
    assert_ends(site, task_id, moves, crashes)


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_is_killed_whole_leaves_rows_that_go_on(site: Site, point: str) -> None:
    worker, task_id, _ = stopped_task(site, point)
    # What is lost before its claim comes back by itself here, before a second look at the queue.
    site.start_beat(TASKDB_RECONCILE_INTERVAL_SECONDS="600")
    worker.kill_all()
    assert site.client.get_task(task_id).status in {STANDS_AT[point], E, "QUEUED"}
    site.start_worker("-c", "1")

    moves, crashes = EXPECTED[point]
    if point == "before the claim":
        moves = (C, S, DONE)  # its message comes back by itself
    assert_ends(site, task_id, moves, crashes)


@pytest.mark.parametrize("site", ["postgresql+redis"], indirect=True)
def test_a_message_whose_acknowledgement_died_unsent_comes_again_and_runs_nothing(
    site: Site,
) -> None:
    worker, task_id, stopped = stopped_task(site, AFTER_ACK)
    assert stopped == worker.pid
    worker.kill_all()
    with redis.Redis.from_url(site.settings.message_url) as line:
        assert (line.hlen("unacked"), line.llen(site.settings.default_queue)) == (1, 0)
        second = site.start_worker("-c", "1")
        second.wait_for_output(f"ends.returns[{task_id}] succeeded")
        wait_until(lambda: (line.hlen("unacked"), line.zcard("unacked_index")) == (0, 0))

    assert [run.attempt for run in site.runs(task_id)] == [1]
    assert_ends(site, task_id, (C, S, DONE), 0)


def assert_ends(site: Site, task_id: str, moves: tuple[str, ...], crashes: int) -> None:
    entity = site.settled(task_id, timeout=60)
    # Whatever message is still about has been looked at as well.
    for _ in range(2):
        assert site.settled(site.submit("ends.returns").id).status == DONE
    assert site.moves(task_id) == list(moves)
    assert (entity.attempt, entity.spared) == (moves.count(S), 0)
    assert entity.crashes == crashes
    assert entity.result == {"got": 1}
    assert not site.alarms(task_id)
