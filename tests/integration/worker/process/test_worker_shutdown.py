"""Stopping a worker: warm, soft and cold. What it held goes on, and nothing is counted."""

import json
import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.worker_site import COMBINATIONS, Site, site_of

C, S, DONE = "CREATED", "STARTED", "COMPLETED"
SOFT = {
    "REMAP_SIGTERM": "SIGQUIT",
    "TASKDB_CELERY": json.dumps({"worker_soft_shutdown_timeout": 1.0}),
}


@pytest.fixture(scope="module", params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with site_of(request.param, request, tmp_path_factory) as site:
        site.start_beat()
        yield site


def test_a_warm_shutdown_lets_the_body_end(site: Site) -> None:
    worker = site.start_worker("-c", "1")
    running = site.submit("ends.waits").id
    site.wait_for_run(running)
    waiting = site.submit("ends.returns").id
    worker.signal(signal.SIGTERM)
    worker.wait_for_output("Warm shutdown")
    site.let_go(running)

    assert worker.wait() == 0
    assert site.moves(running) == [C, S, DONE]
    assert site.client.get_task(running).spared == 0
    assert site.moves(waiting) == [C]
    assert_orderly(site, worker.pid)
    site.start_worker("-c", "1")
    assert site.settled(waiting).status == DONE
    assert_stopped(site)


@pytest.mark.parametrize("how", ["cold", "soft", "warm then cold"])
def test_a_body_that_was_cut_short_is_handed_back_and_not_counted(site: Site, how: str) -> None:
    worker = site.start_worker("-c", "2", env=SOFT if how == "soft" else {})
    first, second = (site.submit("ends.waits").id for _ in range(2))
    for task_id in (first, second):
        site.wait_for_run(task_id)
    worker.signal(signal.SIGQUIT if how == "cold" else signal.SIGTERM)
    if how == "warm then cold":
        # As a deploy does: the time that was given is over, and they still run.
        worker.wait_for_output("Warm shutdown")
        worker.signal(signal.SIGQUIT)

    worker.wait()
    for task_id in (first, second):
        assert site.moves(task_id) == [C, S, C]
        entity = site.client.get_task(task_id)
        assert (entity.attempt, entity.spared, entity.crashes) == (1, 1, 0)
        assert entity.worker is None and entity.error is None
    assert_orderly(site, worker.pid)
    site.start_worker("-c", "2")
    for task_id in (first, second):
        site.let_go(task_id)
        entity = site.settled(task_id)
        assert site.moves(task_id) == [C, S, C, S, DONE]
        assert (entity.attempt, entity.spared, entity.result) == (2, 1, "went")
    assert_stopped(site)


@pytest.mark.parametrize("sign", ["SIGTERM", "SIGQUIT", "SIGHUP", "SIGTERM twice"])
def test_a_signal_to_the_whole_group_of_a_worker_counts_no_crash(site: Site, sign: str) -> None:
    """As systemd and supervisor stop a service: the children hear it as the main process does."""
    worker = site.start_worker("-c", "2")
    first, second = (site.submit("ends.waits").id for _ in range(2))
    for task_id in (first, second):
        site.wait_for_run(task_id)
    name, _, more = sign.partition(" ")
    for _ in range(2 if more else 1):
        os.killpg(worker.pid, signal.Signals[name])

    worker.wait()
    for task_id in (first, second):
        site.let_go(task_id)
        entity = site.client.get_task(task_id)
        assert (entity.spared, entity.crashes, entity.error) == (1, 0, None)
    site.start_worker("-c", "2")
    for task_id in (first, second):
        assert site.settled(task_id).status == DONE
        assert site.moves(task_id) == [C, S, C, S, DONE]
    assert_stopped(site)


def test_a_soft_shutdown_gives_a_short_body_the_time_to_end(site: Site) -> None:
    worker = site.start_worker("-c", "1", env=SOFT)
    running = site.submit("ends.waits").id
    site.wait_for_run(running)
    worker.signal(signal.SIGTERM)
    site.let_go(running)

    worker.wait()
    assert site.settled(running).status == DONE
    assert site.moves(running) == [C, S, DONE]
    assert_stopped(site)


def test_a_soft_shutdown_does_not_wait_for_threads_that_go_on(site: Site) -> None:
    """Nothing else ends a body in a thread: it lets go only after this test."""
    worker = site.start_worker("-c", "2", "-P", "threads", env=SOFT)
    running = site.submit("ends.waits").id
    site.wait_for_run(running)
    worker.signal(signal.SIGTERM)

    worker.wait()
    assert site.moves(running) == [C, S, C]
    assert site.client.get_task(running).spared == 1
    assert_orderly(site, worker.pid)
    site.start_worker("-c", "1")
    site.let_go(running)
    assert site.settled(running).status == DONE
    assert_stopped(site)


def test_a_soft_shutdown_lets_the_body_of_a_solo_pool_end(site: Site) -> None:
    """The handler does not stand on top of the body that it waits for; nor on the message file."""
    env = {**SOFT, "TASKDB_CELERY": json.dumps({"worker_soft_shutdown_timeout": 600.0})}
    worker = site.start_worker("-P", "solo", env=env)
    running = site.submit("ends.waits").id
    site.wait_for_run(running)
    worker.signal(signal.SIGTERM)
    worker.wait_for_output("soft_shutdown.started")
    site.publish("ends.returns", site.submit("ends.returns", delay=timedelta(hours=1)).id)
    site.let_go(running)

    worker.wait()
    assert site.moves(running) == [C, S, DONE]
    assert_stopped(site)


@pytest.mark.parametrize("sign", ["SIGQUIT", "SIGINT twice"])
@pytest.mark.parametrize("pool", ["solo", "threads", "prefork"])
def test_a_cold_shutdown_of_any_pool_hands_back_what_runs(site: Site, pool: str, sign: str) -> None:
    worker = site.start_worker("-c", "1", "-P", pool)
    running = site.submit("ends.waits").id
    site.wait_for_run(running)
    name, _, more = sign.partition(" ")
    os.killpg(worker.pid, signal.Signals[name])
    if more:
        worker.wait_for_output("Warm shutdown")
        os.killpg(worker.pid, signal.Signals[name])

    assert worker.wait() == 1
    entity = site.client.get_task(running)
    assert site.moves(running) == [C, S, C]
    assert (entity.spared, entity.crashes) == (1, 0)
    assert_orderly(site, worker.pid)
    site.let_go(running)
    site.start_worker("-c", "1")
    assert site.settled(running).status == DONE
    assert_stopped(site)


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_warm_shutdown_of_any_pool_lets_the_body_end(site: Site, pool: str) -> None:
    worker = site.start_worker("-c", "1", "-P", pool)
    running = site.submit("ends.waits").id
    site.wait_for_run(running)
    os.killpg(worker.pid, signal.SIGTERM)
    worker.wait_for_output("Warm shutdown")
    site.let_go(running)

    assert worker.wait() == 0
    assert site.moves(running) == [C, S, DONE]
    assert_stopped(site)


def test_a_soft_shutdown_is_over_when_nothing_runs_any_more(site: Site, tmp_path: Path) -> None:
    """The time that it may take is longer than this test may."""
    env = {**SOFT, "TASKDB_CELERY": json.dumps({"worker_soft_shutdown_timeout": 600.0})}
    env["TASKDB_HEALTH_DIR"] = str(tmp_path / "health")
    worker = site.start_worker("-c", "1", env=env)
    running = site.submit("ends.waits").id
    site.wait_for_run(running)
    assert sorted(file.name for file in (tmp_path / "health").iterdir()) == ["alive", "seen"]
    worker.signal(signal.SIGTERM)
    worker.wait_for_output("soft_shutdown.started")
    site.let_go(running)

    worker.wait()
    assert site.moves(running) == [C, S, DONE]
    assert_stopped(site)


def assert_orderly(site: Site, pid: int) -> None:
    rows = site.query("SELECT pid, stopped_at FROM taskdb_worker WHERE pid = :pid", pid=pid)
    assert [row["stopped_at"] is not None for row in rows] == [True]


def assert_stopped(site: Site) -> None:
    """The workers of this test end, so that the next begins with none."""
    for worker in site.workers:
        if worker.is_running:
            worker.terminate()
        assert not worker.children
        assert_orderly(site, worker.pid)
    # The next test looks at its own.
    site.workers.clear()
