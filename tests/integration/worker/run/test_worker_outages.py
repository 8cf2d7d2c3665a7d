"""The database or the broker is away for a while: outcomes arrive, once, when it is back."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.integration.worker_site import Site
from tests.processes import RunningProcess
from tests.servers import PostgreSQL, Redis, TcpProxy
from tests.waiting import wait_until

C, S, DONE = "CREATED", "STARTED", "COMPLETED"


@pytest.fixture
def site(own_postgresql: PostgreSQL, own_redis: Redis, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, database_url=own_postgresql.url, broker_url=own_redis.url)
    with ExitStack() as ending:
        ending.callback(site.client.close)
        ending.callback(site.processes.close)
        yield site
        site.close()


def test_an_outcome_waits_for_a_database_that_died_during_the_body(
    site: Site, own_postgresql: PostgreSQL
) -> None:
    worker = site.start_worker("-c", "1")
    task_id = running(site, "ends.waits")
    own_postgresql.kill()
    site.let_go(task_id)
    wait_for_refusals(worker, "complete")
    own_postgresql.start()

    assert_done_once(site, task_id, "went")


def test_what_a_body_reported_to_nobody_comes_with_its_outcome(
    site: Site, own_postgresql: PostgreSQL
) -> None:
    worker = site.start_worker("-c", "1")
    task_id = site.submit("ends.reports").id
    site.wait_for(task_id, "PROCESSING")
    own_postgresql.stop()
    site.let_go(task_id)
    worker.wait_for_output("progress.delayed")
    site.let_go(f"on-{task_id}")
    wait_for_refusals(worker, "complete")
    own_postgresql.start()

    entity = site.settled(task_id)
    assert site.moves(task_id) == [C, S, "PROCESSING", DONE]
    assert entity.attributes == {"colour": {"hue": 3}, "size": 2}
    assert entity.progress is not None and entity.progress.message == "done"


def test_an_outcome_is_kept_by_a_database_that_forgot_the_claim(
    site: Site, own_postgresql: PostgreSQL
) -> None:
    # A claim's commit does not wait for the disk, so that a kill may lose it: here it is undone.
    site.start_worker("-c", "1")
    task_id = running(site, "ends.waits")
    site.query(
        "UPDATE taskdb_task SET status = 'QUEUED', attempt = 0, worker = NULL, claim_token = NULL,"
        " started_at = NULL WHERE id = :id",
        id=task_id,
    )
    site.query("DELETE FROM taskdb_event WHERE task_id = :id AND to_status = 'STARTED'", id=task_id)
    site.let_go(task_id)

    assert_done_once(site, task_id, "went")


def test_a_zombie_whose_task_was_taken_back_changes_nothing(site: Site) -> None:
    worker = site.start_worker("-c", "1")
    task_id = running(site, "ends.waits")
    site.query(
        "UPDATE taskdb_task SET status = 'ERRORED', worker = NULL, claim_token = NULL,"
        " run_at = clock_timestamp() + interval '1 hour' WHERE id = :id",
        id=task_id,
    )
    site.let_go(task_id)
    worker.wait_for_output("outcome.rejected")

    assert site.client.get_task(task_id).status == "ERRORED"
    assert site.moves(task_id) == [C, S]


def test_a_claim_waits_for_a_database_that_is_away(site: Site, own_postgresql: PostgreSQL) -> None:
    # In a queue without a consumer, so that its message can be sent while nobody answers.
    task_id = site.submit("ends.returns", {"value": 3}, queue="parked").id
    worker = site.start_worker("-c", "1")
    own_postgresql.stop()
    site.publish("ends.returns", task_id)
    wait_for_refusals(worker, "claim")
    own_postgresql.start()

    assert_done_once(site, task_id, {"got": 3})


def test_what_the_main_process_says_waits_for_the_database_too(
    site: Site, own_postgresql: PostgreSQL
) -> None:
    worker = site.start_worker("-c", "2")
    killed = site.wait_for_run(running(site, "ends.stubborn"))
    own_postgresql.stop()
    # The main process has to say what its child cannot.
    os.kill(killed.pid, signal.SIGKILL)
    wait_for_refusals(worker, "lost")
    own_postgresql.start()

    site.wait_for(killed.task_id, "ERRORED")
    assert site.moves(killed.task_id) == [C, S, "ERRORED"]


def test_a_broker_that_restarts_during_the_body_changes_nothing(
    site: Site, own_redis: Redis
) -> None:
    worker = site.start_worker("-c", "1")
    task_id = running(site, "ends.waits")
    own_redis.kill()
    worker.wait_for_output("Connection to broker lost")
    own_redis.start()
    site.let_go(task_id)

    assert_done_once(site, task_id, "went")
    wait_until(lambda: worker.output.count("Connected to redis") >= 2)
    assert_done_once(site, site.submit("ends.returns").id, {"got": None})
    assert len(site.runs(task_id)) == 1


def test_a_line_to_the_broker_that_is_cut_changes_nothing(
    own_postgresql: PostgreSQL, own_redis: Redis, tmp_path: Path
) -> None:
    with TcpProxy(own_redis.port) as proxy, ExitStack() as ending:
        url = f"redis://{proxy.host}:{proxy.port}/0"
        site = Site(tmp_path, database_url=own_postgresql.url, broker_url=url)
        ending.callback(site.client.close)
        ending.callback(site.processes.close)
        worker = site.start_worker("-c", "1")
        # Its rescue takes back what a worker has lost sight of.
        site.start_beat()
        task_id = running(site, "ends.waits")
        proxy.cut()
        worker.wait_for_output("Connection to broker lost")
        wait_until(lambda: worker.output.count("Connected to redis") >= 2)
        wait_for_lists(site)
        site.let_go(task_id)

        assert_done_once(site, task_id, "went")
        assert_done_once(site, site.submit("ends.returns").id, {"got": None})
        assert len(site.runs(task_id)) == 1
        site.close()


def running(site: Site, type: str) -> str:
    task_id = site.submit(type).id
    site.wait_for_run(task_id)
    site.wait_for(task_id, S)
    return task_id


def wait_for_lists(site: Site) -> None:
    """The worker has said anew what it has, so often that a rescue would believe it."""
    since = site.query("SELECT clock_timestamp() AS now")[0]["now"]
    newer = "SELECT id FROM taskdb_worker WHERE listed_before_at > :since"
    wait_until(lambda: site.query(newer, since=since))


def wait_for_refusals(worker: RunningProcess, verb: str) -> None:
    """It has asked again, more than once."""

    def refused() -> bool:
        lines = worker.output.splitlines()
        return sum("database.disconnected" in line and verb in line for line in lines) >= 2

    wait_until(refused, describe=lambda: f"database.disconnected for {verb}:\n{worker.tail()}")


def assert_done_once(site: Site, task_id: str, result: object) -> None:
    entity = site.settled(task_id)
    assert site.moves(task_id) == [C, S, DONE]
    assert entity.result == result
    assert (entity.attempt, entity.spared, entity.crashes) == (1, 0, 0)
    assert len(site.runs(task_id)) == 1
