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
    """Submit, look at what was submitted, and run it here: see `taskdb.testing.Rehearsal`.

    In a Django project whose test has the database (a mark or a fixture of pytest-django), tasks
    are in the transaction of the test, as with `TaskDBTestMixin`.
    """
    from taskdb.testing import rehearse  # noqa: PLC0415 - only who asks pays for the import

    if taskdb_client is None and not taskdb_settings and _has_django_database(request):
        from taskdb.contrib.django.testing import rehearsing  # noqa: PLC0415 - an extra

        with rehearsing() as one:
            yield one
        return
    if taskdb_client is None and "database_url" not in taskdb_settings:
        # The same database for who asks for its URL as well.
        url = request.getfixturevalue("taskdb_url")
        taskdb_settings = {**taskdb_settings, "database_url": url}
    with rehearse(taskdb_client, **taskdb_settings) as one:
        yield one


def _has_django_database(request: pytest.FixtureRequest) -> bool:
    """Whether the test uses the databases of a project with our app; begins its transaction."""
    asked = [name for name in _DJANGO_FIXTURES if name in request.fixturenames]
    is_marked = request.node.get_closest_marker("django_db") is not None
    if not (asked or is_marked):
        return False
    for name in asked:
        request.getfixturevalue(name)
    from django.apps import apps  # noqa: PLC0415 - an extra

    return bool(apps.is_installed("taskdb.contrib.django"))


_DJANGO_FIXTURES = ("db", "transactional_db", "django_db_reset_sequences")
"""Fixtures of pytest-django that give a test the databases."""
