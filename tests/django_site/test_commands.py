"""Django's own commands work wherever the rows live, and leave them alone."""

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings

from taskdb import TaskDB, default_taskdb, submit_task
from tests.django_site import project
from tests.django_site.orders.models import Order
from tests.integration.submit_site import count

PLACEMENTS = ("default", "default by url", "other alias", "own database")
CASES = "tests.django_site.cases_everywhere"


@dataclass
class Site:
    """A project whose rows live in one place."""

    taskdb: TaskDB
    alias: str | None
    folder: Path


@pytest.fixture(params=PLACEMENTS)
def site(
    store_url: str, tmp_path: Path, at_home: None, request: pytest.FixtureRequest
) -> Iterator[Site]:
    ours = project.django_database(store_url)
    plain = project.django_database(f"sqlite:///{tmp_path / 'orders.sqlite3'}")
    databases, given, alias = {
        "default": ({"default": ours}, {}, "default"),
        "default by url": ({"default": ours}, {"DATABASE_URL": store_url}, "default"),
        "other alias": ({"default": plain, "tasks": ours}, {"DATABASE": "tasks"}, "tasks"),
        "own database": ({"default": plain}, {"DATABASE_URL": store_url}, None),
    }[request.param]
    with (
        project.taskdb_settings(tmp_path, **given),
        override_settings(**project.WEB),
        project.databases(**databases),
    ):
        call_command("migrate", run_syncdb=True, verbosity=0)
        for other in {*databases} - {"default"}:
            call_command("migrate", database=other, run_syncdb=True, verbosity=0)
        taskdb = default_taskdb()
        yield Site(taskdb, alias, tmp_path)
        default_taskdb().close()
        taskdb.close()
        connections.close_all()


def test_every_command_of_django_works_wherever_the_rows_live(site: Site) -> None:
    Order.objects.create(customer="Ada")
    kept = submit_task("orders.pack").id
    site.taskdb.schedules.create("nightly", "orders.pack", cron="30 2 * * *")

    said("check", deploy=True, databases=[*connections])
    assert "No changes" in said("makemigrations", check_changes=True, dry_run=True)
    assert "No planned" in said("migrate", plan=True)
    assert "CREATE TABLE" in said("sqlmigrate", "auth", "0001")
    with pytest.raises(CommandError, match="does not have migrations"):
        said("sqlmigrate", "taskdb", "0001")
    for alias in connections:
        has_ours = "class TaskdbTask(models.Model)" in said("inspectdb", database=alias)
        assert has_ours == (alias == site.alias), alias

    dumped_and_loaded(site, kept)

    said("flush", interactive=False)
    assert count(site.taskdb) == (0 if site.alias == "default" else 1)
    assert Order.objects.count() == 0

    before = count(site.taskdb)
    # Its classes keep the aliases of the first project that runs them.
    sys.modules.pop(CASES, None)
    said("test", CASES, interactive=False, verbosity=0)
    assert count(default_taskdb()) == before


def dumped_and_loaded(site: Site, kept: str) -> None:
    file = site.folder / "fixture.json"
    for alias in connections:
        said("dumpdata", database=alias, output=str(file), natural_foreign=True)
        models = {one["model"] for one in json.loads(file.read_text())}
        assert not any(name.startswith("taskdb.") for name in models)
        said("loaddata", str(file), database=alias)
    # A fixture from before tasks were left out of fixtures.
    row = {"model": "taskdb.task", "pk": kept, "fields": {"status": "QUEUED", "type": "spoiled"}}
    file.write_text(json.dumps([row]))
    said("loaddata", str(file))
    assert site.taskdb.get_task(kept).type == "orders.pack"


def said(command: str, *arguments: str, **options: Any) -> str:
    """Run a command; what it wrote."""
    out, errors = io.StringIO(), io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=errors, **options)
    return out.getvalue() + errors.getvalue()
