"""Chords of plain Celery in an app of ours: refused before anything is published."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from tests.integration.tree.fan_site import ended, fan_site
from tests.integration.worker_site import COMBINATIONS, MODULE, Site
from tests.waiting import wait_until

from taskdb.celery.result_backend import ChordRefused
from taskdb_worker.app import create_app

MODULES = f"{MODULE},tests.integration.tree.fan_tasks,tests.integration.tree.fan_foreign"


@pytest.fixture(scope="module", params=COMBINATIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with fan_site(request.param, request, tmp_path_factory, task_modules=MODULES) as site:
        yield site


@pytest.fixture
def app(site: Site) -> Iterator[Celery]:
    """An app of a program that has the code of the tasks."""
    with create_app(taskdb=site.client, as_current=False) as app:
        yield app


def one(app: Celery, name: str = "plain.adds", *numbers: int) -> Any:
    return app.signature(name, args=numbers)


def tracked(app: Celery) -> Any:
    return app.tasks["fan.does"].s()


WAYS: dict[str, Callable[[Celery], Any]] = {
    "of plain tasks": lambda app: chord([one(app), one(app)], app=app)(one(app, "plain.sums")),
    "of one task": lambda app: chord([one(app)], app=app)(one(app, "plain.sums")),
    "of tracked tasks": lambda app: chord([tracked(app)] * 2, app=app)(tracked(app)),
    "with apply_async": lambda app: chord(
        [one(app), one(app)], one(app, "plain.sums"), app=app
    ).apply_async(countdown=1),
    "of a group and a task": lambda app: (
        group([one(app), one(app)], app=app) | one(app, "plain.sums")
    )(),
    "first in a chain": lambda app: (
        group([one(app), one(app)], app=app) | one(app, "plain.sums") | one(app)
    )(),
    "behind a task": lambda app: (
        one(app) | group([one(app), one(app)], app=app) | one(app, "plain.sums")
    )(),
    "last in a chain": lambda app: chain(
        one(app), one(app), chord([one(app)], one(app, "plain.sums"), app=app), app=app
    ).delay(),
    "in a chord": lambda app: chord(
        [chord([one(app)], one(app, "plain.sums"), app=app)] * 2, app=app
    )(one(app, "plain.sums")),
    "in a group": lambda app: group(
        [chord([one(app)], one(app, "plain.sums"), app=app)], app=app
    )(),
    "as a link": lambda app: one(app).apply_async(
        link=chord([one(app)], one(app, "plain.sums"), app=app)
    ),
    "as a link of a registered task": lambda app: app.tasks["plain.adds"].apply_async(
        link_error=[chord([one(app)], one(app, "plain.sums"), app=app)]
    ),
    "as a link of a tracked task": lambda app: tracked(app).apply_async(
        link=[chain(one(app), chord([one(app)], one(app, "plain.sums"), app=app), app=app)]
    ),
    "linked to a link": lambda app: one(app).apply_async(
        link=one(app).set(link=[chord([one(app)], one(app, "plain.sums"), app=app)])
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_plain_chord_is_refused_before_anything_is_published(
    site: Site, app: Celery, way: str
) -> None:
    with pytest.raises(ChordRefused, match="submit_fan_out"):
        WAYS[way](app)
    assert not site.celery.control.purge()


def test_chains_groups_and_links_without_a_chord_are_published(site: Site, app: Celery) -> None:
    chain(one(app), one(app), app=app).delay()
    group([one(app), one(app)], app=app).delay()
    one(app).apply_async(link=[one(app)], link_error=one(app))
    app.send_task("plain.adds", (1,), {"tasks": [{"subtask_type": "chord"}]})
    (one(app) | group([one(app), one(app)], app=app)).delay()
    assert site.celery.control.purge() == 6


def test_bodies_and_plain_tasks_that_call_a_chord_fail_and_say_why(site: Site) -> None:
    site.start_worker("-c", "1")
    for how in ("calls", "replaces"):
        found = ended(site, site.submit("fan.calls_a_chord", {"how": how}).id)
        assert found.status == "FAILED" and found.error is not None
        assert found.error.type.endswith("ChordRefused")
        assert "submit_fan_out" in found.error.message
    site.celery.send_task(
        "plain.replaces", ("said",), queue=site.settings.default_queue, ignore_result=True
    )
    said = site.folder / "said"
    wait_until(lambda: said.exists() and "submit_fan_out" in said.read_text())
    assert site.settled(site.submit("ends.returns").id).status == "COMPLETED"
