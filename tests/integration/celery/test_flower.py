"""Flower shows workers and tasks on every broker; a revocation from it leaves the row true."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from tests.integration.celery.hostile import BROKERS, began, site_with_strangers
from tests.integration.worker_site import REPOSITORY, Site
from tests.servers.server import free_port
from tests.waiting import wait_until


@pytest.fixture(params=BROKERS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with site_with_strangers(request, tmp_path_factory) as site:
        yield site


class Flower:
    """Flower with the worker's app, and its API."""

    def __init__(self, site: Site) -> None:
        self.port = free_port()
        self.process = site.processes.python(
            *("-m", "celery", "-A", "taskdb_worker.app", "flower"),
            *("--address=127.0.0.1", f"--port={self.port}"),
            env={**site.env, "FLOWER_UNAUTHENTICATED_API": "true"},
            cwd=REPOSITORY,
        )

    def __call__(self, path: str, data: bytes | None = None) -> Any:
        """The answer to a GET, or to a POST if there is data; empty until Flower answers."""
        request = Request(f"http://127.0.0.1:{self.port}/api/{path}", data)
        with suppress(URLError), urlopen(request, timeout=20) as answer:  # noqa: S310
            return json.load(answer)
        return {}

    def wait_for_state(self, task_id: str, state: str) -> None:
        wait_until(
            lambda: self("tasks").get(task_id, {}).get("state") == state,
            30,
            lambda: f"{self('tasks').get(task_id)}\n{self.process.tail()}",
        )


def test_flower_shows_workers_and_tasks_and_what_it_revokes_is_canceled(site: Site) -> None:
    # No worker sends events of tasks before Flower asks for them.
    flower = Flower(site)
    wait_until(lambda: len(flower("workers")) == 2, 60, flower.process.tail)
    shown = flower("workers?refresh=1")
    assert any("public.waits" in worker["registered"] for worker in shown.values()), shown
    assert {worker["stats"]["pool"]["max-concurrency"] for worker in shown.values()} == {1}

    def greeted() -> Any:
        """Events are heard from the moment at which the worker has obeyed Flower."""
        task_id = site.submit("public.greet", {"name": "you"}).id
        assert site.settled(task_id).status == "COMPLETED"
        # Of the first ones Flower may hear the end alone, which has no name.
        return task_id if flower("tasks").get(task_id, {}).get("name") else None

    ended = wait_until(greeted, 30, flower.process.tail)
    flower.wait_for_state(ended, "SUCCESS")
    assert flower("tasks")[ended]["name"] == "public.greet"

    running = site.submit("public.waits").id
    began(site, running)
    flower.wait_for_state(running, "STARTED")
    for task_id in (running, ended):
        assert flower(f"task/revoke/{task_id}?terminate=true", b"")["message"]
    found = site.settled(running)
    assert found.status == "CANCELED"
    assert found.error is not None and found.error.type == "TaskRevoked"
    assert site.client.get_task(ended).status == "COMPLETED"
    site.moves(running)
    assert flower.process.terminate() == 0
