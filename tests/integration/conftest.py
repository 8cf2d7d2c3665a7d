"""Fixtures of the tests of submitting: a client, and an engine of its user's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.integration.submit_site import client, engine_on

from taskdb import TaskDB


@pytest.fixture
def taskdb(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    """A client on each database by turns, with a broker of its own."""
    with client(store_url, tmp_path) as taskdb:
        yield taskdb


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    """On the database of the client."""
    engine = engine_on(store_url)
    yield engine
    engine.dispose()
