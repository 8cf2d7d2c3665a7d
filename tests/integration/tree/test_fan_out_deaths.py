"""Whoever dies between the end of the last part and that of its parent: the parent ends.

What a killed process leaves, its worker's main process leads on at once; what a killed worker
leaves, and a message that was lost, one pass of the reconcile loop.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.integration.tree.fan_site import (
    NO_LOOP,
    QUICK_RETURN,
    ended,
    fan_site,
    parts_of,
    statuses_of,
    story_of,
)
from tests.integration.tree.fan_stops import POINTS
from tests.integration.worker_site import COMBINATIONS, MODULE, Site
from tests.servers import Redis, TcpProxy
from tests.waiting import wait_until

from taskdb.model.entity import TaskEntity
from taskdb_beat.loops.reconcile import Reconcile

MODULES = f"{MODULE},tests.integration.tree.fan_tasks,tests.integration.tree.fan_stops"
TWO_DONE = {"total": 2, "succeeded": 2, "failed": 0, "canceled": 0}


@pytest.fixture(scope="module", params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    settings = {"task_modules": MODULES, "worker_lease_seconds": 2, **QUICK_RETURN}
    with fan_site(request.param, request, tmp_path_factory, **settings) as site:
        yield site


def waiting_fan_out(site: Site, **options: Any) -> tuple[TaskEntity, TaskEntity]:
    """A fan-out and its last part, whose body runs."""
    items = [{"number": 0}, {"number": 1}]
    parent = site.client.submit_fan_out("fan.waits", items, **options)
    first, last = parts_of(site, parent.id)
    site.wait_for_run(first.id)
    site.let_go(first.id)
    site.wait_for(first.id, "COMPLETED")
    site.wait_for_run(last.id)
    return parent, last


def ask_to_die(site: Site, point: str, parent: TaskEntity, part: TaskEntity, whom: str) -> Path:
    name = parent.id if point in {"counted", "body published", "about to join"} else part.id
    path = site.folder / f"kill-{name}"
    path.write_text(f"{point}:{whom}")
    return path


@pytest.mark.parametrize("point", POINTS)
def test_a_parent_whose_worker_died_ends_in_one_pass_of_the_loop(site: Site, point: str) -> None:
    worker = site.start_worker("-c", "1")
    parent, part = waiting_fan_out(site)
    path = ask_to_die(site, point, parent, part, "worker")
    site.let_go(part.id)
    try:
        worker.wait(15)
    finally:
        worker.kill_all()

    assert worker.exit_code == -signal.SIGKILL and not path.exists()
    assert statuses_of(site, parent.id) == {"COMPLETED": 2}
    assert parent.refresh().status == "PROCESSING"
    wait_until(lambda: not worker.children)
    reconcile_once(site)
    assert_done(site, parent)


def reconcile_once(site: Site) -> None:
    assert Reconcile(site.client.store).run_once() is False


def assert_done(site: Site, parent: TaskEntity) -> None:
    parent = parent.refresh()
    assert (parent.status, parent.result) == ("COMPLETED", TWO_DONE), story_of(site, parent.id)
    assert site.moves(parent.id) == ["CREATED", "PROCESSING", "COMPLETED"]


def test_a_parent_whose_child_process_died_needs_no_loop(site: Site) -> None:
    with ExitStack() as ending:
        worker = site.start_worker("-c", "1")
        ending.callback(worker.kill_all)
        parent, part = waiting_fan_out(site)
        path = ask_to_die(site, "counted", parent, part, "child")
        site.let_go(part.id)
        ended(site, parent.id)
        assert not path.exists()
        assert_done(site, parent)


def test_a_chord_body_that_is_lost_is_not_missed(site: Site) -> None:
    # A queue of its own: what workers of other tests died with may come back to theirs.
    queue = "bodies"
    worker = site.start_worker("-c", "1", "-Q", queue)
    parent, part = waiting_fan_out(site, queue=queue)
    # A worker that stops in order ends its body, and takes no other message.
    worker.signal(signal.SIGTERM)
    worker.wait_for_output("Warm shutdown")
    site.let_go(part.id)
    worker.wait()

    with site.celery.connection_for_write() as line:
        assert site.celery.amqp.queues[queue](line.default_channel).purge() == 1
    assert parent.refresh().status == "PROCESSING"
    reconcile_once(site)
    assert_done(site, parent)


def test_a_worker_killed_while_it_runs_the_last_part_loses_nothing(site: Site) -> None:
    worker = site.start_worker("-c", "1")
    parent, part = waiting_fan_out(site)
    worker.kill_all()
    with ExitStack() as ending:
        ending.callback(site.start_worker("-c", "1").kill_all)
        ending.callback(site.start_beat().kill_all)
        site.let_go(part.id)
        ended(site, parent.id)
    assert_done(site, parent)
    assert site.client.get_task(part.id).crashes == 1


def test_a_fan_out_needs_no_broker_to_be_submitted_and_none_to_end(
    postgresql_url: str, own_redis: Redis, tmp_path: Path
) -> None:
    with TcpProxy(own_redis.port) as proxy, ExitStack() as ending:
        site = Site(
            tmp_path,
            database_url=postgresql_url,
            broker_url=f"redis://127.0.0.1:{proxy.port}/0",
            task_modules=MODULES,
            **NO_LOOP,
        )
        ending.callback(site.client.close)
        ending.callback(site.processes.close)
        worker = site.start_worker("-c", "1")
        parent, part = waiting_fan_out(site)
        proxy.refuse()
        proxy.cut()
        site.let_go(part.id)
        ended(site, parent.id)
        assert_done(site, parent)
        assert "join.unpublished" in worker.output

        started = time.monotonic()
        later = site.client.submit_fan_out("fan.does", [{"what": "returns"}] * 3)
        assert time.monotonic() - started < 2
        assert later.status == "PROCESSING"
        assert statuses_of(site, later.id) == {"CREATED": 3}
        proxy.restore()
        site.start_beat()
        assert ended(site, later.id).status == "COMPLETED"
        site.close()


def test_a_fan_out_is_joined_over_rabbitmq_and_without_its_chord_body(
    postgresql_url: str, rabbitmq_url: str, tmp_path: Path
) -> None:
    site = Site(
        tmp_path,
        database_url=postgresql_url,
        broker_url=rabbitmq_url,
        task_modules=MODULES,
        **NO_LOOP,
    )
    with ExitStack() as ending:
        ending.callback(site.client.close)
        ending.callback(site.processes.close)
        worker = site.start_worker("-c", "1")
        items = [{"what": "returns", "value": number} for number in range(10)]
        whole = site.client.submit_fan_out("fan.splits", [{"items": items}, {"items": items}])
        assert ended(site, whole.id).status == "COMPLETED"

        parent, part = waiting_fan_out(site)
        worker.signal(signal.SIGTERM)
        worker.wait_for_output("Warm shutdown")
        site.let_go(part.id)
        worker.wait()
        assert site.celery.control.purge() == 1
        assert parent.refresh().status == "PROCESSING"
        reconcile_once(site)
        assert_done(site, parent)
        site.close()
