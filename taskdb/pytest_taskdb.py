"""The pytest plugin of celery-taskdb: fixtures, and nothing else, for who asks for them.

pytest imports this in every run of a project that has the package installed, so it imports nothing
by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from taskdb import TaskDB
    from taskdb.testing import Rehearsal


@pytest.fixture
def taskdb_url() -> Iterator[str]:
    """A fresh, migrated database in memory, for this test alone: its SQLAlchemy URL.

    Engines of the application may use it as well, and `metadata.create_all` on it.
    """
    from taskdb.testing import memory_database  # noqa: PLC0415 - only who asks pays for the import

    with memory_database() as url:
        yield url


@pytest.fixture
def taskdb_settings() -> dict[str, Any]:
    """Settings of the fixture `rehearsal`, on top of the environment; override it to say some."""
    return {}


@pytest.fixture
def taskdb_client() -> TaskDB | None:
    """The client that the fixture `rehearsal` is about; override it to name an application's own.

    None: one on a database in memory, which the module functions (`submit_task` …) use.
    """
    return None


@pytest.fixture
def rehearsal(
    request: pytest.FixtureRequest, taskdb_client: TaskDB | None, taskdb_settings: dict[str, Any]
) -> Iterator[Rehearsal]:
    """Submit, look at what was submitted, and run it here: see `taskdb.testing.Rehearsal`."""
    from taskdb.testing import rehearse  # noqa: PLC0415 - only who asks pays for the import

    if taskdb_client is None and "database_url" not in taskdb_settings:
        # The same database for who asks for its URL as well.
        url = request.getfixturevalue("taskdb_url")
        taskdb_settings = {**taskdb_settings, "database_url": url}
    with rehearse(taskdb_client, **taskdb_settings) as one:
        yield one
