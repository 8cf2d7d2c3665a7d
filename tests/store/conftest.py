"""A store on a fresh database of each system."""

from collections.abc import Iterator
from pathlib import Path

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
def old_url(postgresql_url: str) -> str:
    """A PostgreSQL database of this release, with tasks and some days of history."""
    old_schema.fill(postgresql_url)
    return postgresql_url


@pytest.fixture
def next_release(tmp_path: Path) -> Iterator[str]:
    """The revision of the next release, whose migration this process has."""
    with old_schema.next_release(tmp_path) as head:
        yield head


@pytest.fixture
def new_url(next_release: str, empty_postgresql_url: str) -> str:
    """A PostgreSQL database that got the schema of the next release in one transaction."""
    return old_schema.migrated_whole(empty_postgresql_url)
