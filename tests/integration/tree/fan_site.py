"""What tests of fan-outs and sequences share: their site, and what they ask of a parent."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from tests.integration.worker_site import MODULE, Site, site_of
from tests.waiting import wait_until

from taskdb.client.taskdb import TaskDB
from taskdb.model.entity import TaskEntity
from taskdb.types.declaration import task
from taskdb.types.registry import Registry

NO_LOOP = {"reconcile_interval_seconds": 3_600}
"""What ends a parent must not be the loop that ends whatever was forgotten."""
_RETURN = {
    "lease_seconds": 1,
    "visibility_timeout": 2,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}
QUICK_RETURN = {"celery": json.dumps({"broker_transport_options": _RETURN})}
"""Messages that a dead worker had taken and not begun come back after this."""
BROKEN = "fan.unknown_to_workers"


def fan_site(
    combination: str,
    request: pytest.FixtureRequest,
    factory: pytest.TempPathFactory,
    **settings: Any,
) -> AbstractContextManager[Site]:
    """A site whose workers know the types of `fan_tasks`, and whose beat has no reconcile loop."""
    modules = f"{MODULE},tests.integration.tree.fan_tasks"
    given = {"task_modules": modules, "max_crashes": 2, **NO_LOOP, **settings}
    return site_of(combination, request, factory, **given)


@contextmanager
def client_of_newer_code(site: Site) -> Iterator[TaskDB]:
    """A client that knows a type of which no worker has heard."""
    registry = Registry()
    task(BROKEN, registry=registry)(lambda: None)
    with TaskDB(site.settings, registry=registry) as newer:
        yield newer


def parts_of(site: Site, parent_id: str) -> list[TaskEntity]:
    return list(site.client.trees.sub_tasks(parent_id, role="part"))


def statuses_of(site: Site, parent_id: str) -> Counter[str]:
    return Counter(str(part.status) for part in parts_of(site, parent_id))


def story_of(site: Site, parent_id: str) -> str:
    """Where a tree stands, for the message of a failed wait."""
    lines = [f"{parent_id}: {site.moves(parent_id)}"]
    lines += [
        f"{one.position} {one.type} {one.id}: {site.moves(one.id)} {one.error}"
        for one in site.client.trees.sub_tasks(parent_id)
    ]
    return "\n".join(lines)


def ended(site: Site, parent_id: str, timeout: float = 30) -> TaskEntity:
    """The parent once it is over; then nothing below it is open, and no history is illegal."""
    wait_until(
        lambda: site.client.get_task(parent_id).status.is_terminal,
        timeout,
        lambda: story_of(site, parent_id),
    )
    for one in site.client.trees.sub_tasks(parent_id):
        assert one.status.is_terminal, story_of(site, parent_id)
    assert story_of(site, parent_id)
    return site.client.get_task(parent_id)


def assert_ran_once(site: Site, parent_id: str) -> None:
    """Every sub-task's body ran exactly once."""
    ids = {one.id for one in site.client.trees.sub_tasks(parent_id)}
    runs = Counter(run.task_id for run in site.runs() if run.task_id in ids)
    assert set(runs.values()) == {1} and set(runs) == ids, runs
