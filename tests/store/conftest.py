"""A store on a fresh database of each system."""

from collections.abc import Iterator

import pytest

from taskdb.store.store import Store
from tests.store import old_schema


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A store on each database by turns."""
    with Store(store_url, pool_size=10).closing() as opened:
        yield opened


@pytest.fixture
def postgresql_store(postgresql_url: str) -> Iterator[Store]:
    """A store for what only PostgreSQL has."""
    with Store(postgresql_url, pool_size=10).closing() as opened:
        yield opened


@pytest.fixture
def old_url(empty_postgresql_url: str) -> str:
    """A PostgreSQL database of the first revision, with tasks and some days of history."""
    old_schema.fill(empty_postgresql_url)
    return empty_postgresql_url
