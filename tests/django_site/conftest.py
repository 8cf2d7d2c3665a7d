from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from taskdb import TaskDB
from taskdb.client.default import default_taskdb
from tests.django_site import project

project.set_up()


@pytest.fixture
def at_home() -> Iterator[None]:
    """This package looks at Django's settings and transactions."""
    project.enter()
    try:
        yield
    finally:
        project.leave()


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path, at_home: None) -> Iterator[TaskDB]:
    """The default TaskDB of a project whose one database has the project's tables and ours."""
    with (
        project.taskdb_settings(tmp_path),
        project.databases(default=project.django_database(store_url)),
    ):
        project.create_orders()
        yield default_taskdb()
        default_taskdb().close()
        connections.close_all()
