"""A publisher that has the broker's address and nothing else: raw messages of any shape."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection, Exchange
from tests.integration.worker_site import Site, site_of
from tests.waiting import wait_until

MODULES = "tests.integration.hostile_tasks"
BROKERS = ["postgresql+redis", "embedded", "rabbitmq"]
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@contextmanager
def site_with_strangers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, **settings: Any
) -> Iterator[Site]:
    """A site on the broker that the fixture is parametrized with, and its two workers.

    The first has the task types of the tests. The second consumes another queue, and knows none
    of the types.
    """
    kind, given = request.param, {"task_modules": MODULES, **settings}
    if kind == "rabbitmq":
        server = request.getfixturevalue("rabbitmq_server")
        kind, given["broker_url"] = "embedded", server.create_vhost(f"hostile-{uuid4()}")
    with site_of(kind, request, tmp_path_factory, **given) as site:
        site.start_worker("-c", "1", "-Q", "taskdb", via="run_worker")
        modules = {"TASKDB_TASK_MODULES": "tests.integration.worker_tasks"}
        site.start_worker("-c", "1", "-Q", "elsewhere", via="run_worker", env=modules)
        yield site


def send(
    site: Site,
    task: Any,
    task_id: Any,
    *,
    queue: str = "",
    headers: Mapping[str, Any] | None = None,
    args: Any = (),
    kwargs: Any = None,
    embed: Mapping[str, Any] | None = None,
    **options: Any,
) -> None:
    """Publish what names a task, as Celery's second protocol spells it."""
    body = json.dumps([list(args), kwargs or {}, {**EMBED, **(embed or {})}])
    whole = {"id": task_id, "task": task, "lang": "py", **(headers or {})}
    raw(site, queue, body, headers=whole, **options)


def raw(site: Site, queue: str, body: Any, **options: Any) -> None:
    name = queue or site.settings.default_queue
    given = {"content_type": "application/json", "content_encoding": "utf-8", **options}
    declared = site.celery.amqp.queues[name]
    with Connection(site.settings.message_url) as connection:
        connection.Producer(auto_declare=False).publish(
            body,
            exchange=declared.exchange or Exchange(name),
            routing_key=declared.routing_key or name,
            declare=[declared],
            retry=False,
            **given,
        )


def count(site: Site, queue: str) -> int:
    """How many messages wait in a queue."""
    return site.client.publisher.depths([queue])[queue]


def still_works(site: Site) -> None:
    """The worker has read what was sent before: it does a task that came after."""
    for _ in range(2):
        # A message of a plain client has this priority: one of a higher would overtake it.
        one = site.submit("public.greet", {"name": "after"}, priority=0)
        assert site.settled(one.id).status == "COMPLETED", site.workers[0].tail()


def row(site: Site, task_id: str) -> dict[str, Any]:
    (found,) = site.query("SELECT * FROM taskdb_task WHERE CAST(id AS TEXT) = :id", id=str(task_id))
    return dict(found)


def parked(site: Site, type: str = "public.greet", **options: Any) -> str:
    """A task that is QUEUED where no worker consumes."""
    given = {"name": "you"} if type == "public.greet" else None
    return site.wait_for(site.submit(type, given, queue="parked", **options).id, "QUEUED").id


def has_run(site: Site, task_id: str) -> int:
    path = site.folder / "greeted"
    return path.read_text().split().count(task_id) if path.exists() else 0


def admin_ran(site: Site) -> bool:
    return (site.folder / "admin-ran").exists()


def noted(site: Site) -> bool:
    return (site.folder / "noted").exists()


def began(site: Site, task_id: str) -> None:
    path: Path = site.folder / f"began-{task_id}"
    wait_until(path.exists, 20, site.workers[0].tail)
