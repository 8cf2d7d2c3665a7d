"""The worker over the stock Redis transport, and with the stock pool, does its essential work."""

import os
import signal
from collections.abc import Iterator

import pytest
from tests.integration.worker_site import Site, site_of
from tests.waiting import wait_until

from taskdb.celery.configuration import create_celery

C, S, E, DONE = "CREATED", "STARTED", "ERRORED", "COMPLETED"


@pytest.fixture(
    scope="module",
    params=[
        ("redis_transport", "kombu", "postgresql+redis"),
        ("worker_prefork", "celery", "postgresql+redis"),
        ("worker_prefork", "celery", "embedded"),
    ],
    ids="-".join,
)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    name, value, combination = request.param
    with site_of(combination, request, tmp_path_factory, **{name: value}) as site:
        site.start_worker("-c", "2")
        site.start_beat()
        yield site


def test_the_setting_returns_to_the_stock_part(site: Site) -> None:
    with create_celery(site.settings) as app:
        kind = app.connection_for_write().get_transport_cls()
    if site.settings.redis_transport == "kombu":
        assert kind.__module__ == "kombu.transport.redis"
    else:
        output = site.workers[0].output
        assert site.settings.worker_prefork == "celery" and "ready." in output


@pytest.mark.parametrize(
    ("type", "input", "moves", "result"),
    [
        ("ends.returns", {"value": 1}, (C, S, DONE), {"got": 1}),
        ("ends.large", {"text": "ab" * 5000}, (C, S, DONE), "ba" * 5000),
        ("ends.raises", None, (C, S, "FAILED"), None),
        ("ends.raises_once", None, (C, S, E, S, DONE), "second"),
        ("ends.requeues", None, (C, S, C, S, DONE), "then"),
        ("ends.killed", {"times": 1}, (C, S, E, S, DONE), "survived"),
        ("ends.sys_exit", {"times": 1}, (C, S, E, S, DONE), "survived"),
        ("ends.hard_limit", {"times": 1}, (C, S, E, S, DONE), None),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("ends.") else "",
)
def test_a_run_ends_as_with_our_own_part(
    site: Site, type: str, input: object, moves: tuple[str, ...], result: object
) -> None:
    entity = site.settled(site.submit(type, input).id)
    assert site.moves(entity.id) == list(moves)
    assert result is None or entity.result == result


def test_many_tasks_run_once_each(site: Site) -> None:
    ids = [one.id for one in site.client.submit_many("ends.returns", [{"value": 1}] * 100)]
    for task_id in ids:
        assert site.settled(task_id).status == DONE
    assert {len(site.runs(task_id)) for task_id in ids} == {1}


def test_a_parent_ends_when_its_parts_have(site: Site) -> None:
    parent = site.client.submit_fan_out("ends.returns", [{"value": n} for n in range(10)])
    assert site.settled(parent.id).status == DONE


def test_a_task_is_canceled_while_it_runs(site: Site) -> None:
    task_id = site.submit("ends.agrees").id
    site.wait_for_run(task_id)
    site.client.cancel_task(task_id)
    assert site.settled(task_id).status == "CANCELED"


def test_a_warm_shutdown_lets_a_body_end(site: Site) -> None:
    worker = site.workers[-1]
    task_id = site.submit("ends.waits").id
    site.wait_for_run(task_id)
    os.kill(worker.pid, signal.SIGTERM)
    site.let_go(task_id)
    assert site.settled(task_id).status == DONE
    wait_until(lambda: not worker.is_running, 60, "the worker to end")
