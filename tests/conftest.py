"""Fixtures for every test: real servers, processes, and the proof that nothing leaked."""

import logging
import os
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, suppress
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest
import structlog

from tests.memory import use_memory
from tests.processes import Processes
from tests.servers import (
    Blackhole,
    PostgreSQL,
    RabbitMQ,
    Receiver,
    Redis,
    Server,
    ServerMissingError,
    Sns,
)
from tests.servers.leash import leash_this_process
from tests.servers.server import remove_folders_of_dead_runs
from tests.waiting import wait_until

S = TypeVar("S", bound=Server)

use_memory()

# On a busy machine an example may take any time; the timeout of the test bounds them all.
hypothesis.settings.register_profile("tests", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("tests")

# The default shows the variables of each frame: that takes longer than most tests.
structlog.get_config()["processors"][-1].exception_formatter = structlog.dev.plain_traceback

_TEMPLATE = "template_taskdb"
_numbers = count(1)

# These are set up before, and so torn down after, whatever else a test asks for: a worker that a
# fixture still has to end is not a leak.
_FIRST = (
    "module_store_url",
    "store_url",
    "empty_store_url",
    "postgresql_url",
    "empty_postgresql_url",
    "rabbitmq_url",
)

_MARKS = {
    "postgresql": {"postgresql_url", "empty_postgresql_url", "own_postgresql"},
    "redis": {"redis_url", "own_redis"},
    "rabbitmq": {"rabbitmq_url", "own_rabbitmq"},
}


def pytest_sessionstart(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        leash_this_process(owner=os.getppid())  # a killed run takes its xdist workers along
    else:
        remove_folders_of_dead_runs()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the servers they ask for, and give them those first."""
    for item in items:
        names = getattr(item, "fixturenames", [])
        for mark, fixtures in _MARKS.items():
            if not fixtures.isdisjoint(names):
                item.add_marker(mark)
        names.sort(key=lambda name: name not in _FIRST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the processes of a failed test wrote."""
    report = yield
    processes = getattr(item, "funcargs", {}).get("processes")
    if report.failed and isinstance(processes, Processes):
        for process in processes.started:
            report.sections.append((f"Output of {process}", process.tail()))
    return report


# --- servers shared by the tests of one run (of one xdist worker) ---------------------------------


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A PostgreSQL for the run, with a migrated template database."""
    with closing(_existing(PostgreSQL)) as server:
        server.start()
        migrate(server.create_database(_TEMPLATE))
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Redis for the run, without persistence."""
    with closing(_existing(Redis)) as server:
        server.start()
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQ]:
    """A RabbitMQ for the run; without one the tests are skipped, in CI they fail."""
    with closing(_existing(RabbitMQ)) as server:
        server.start()
        yield server


@pytest.fixture(scope="session")
def sns_server() -> Iterator[Sns]:
    """A server of SNS for the run."""
    with closing(Sns()) as server:
        server.start()
        yield server


# --- what a test asks for -------------------------------------------------------------------------


@pytest.fixture
def postgresql_url(postgresql_server: PostgreSQL) -> Iterator[str]:
    """A fresh, migrated PostgreSQL database; fails the test if it leaves a connection open."""
    yield from _database(postgresql_server, _TEMPLATE)


@pytest.fixture
def empty_postgresql_url(postgresql_server: PostgreSQL) -> Iterator[str]:
    """A fresh PostgreSQL database without any table; the same check for connections."""
    yield from _database(postgresql_server, "template0")


@pytest.fixture
def redis_url(redis_server: Redis) -> Iterator[str]:
    """An empty logical database of Redis."""
    database = next(_numbers) % redis_server.databases
    redis_server.flush(database)
    yield redis_server.url_of(database)
    redis_server.flush(database)


@pytest.fixture
def rabbitmq_url(rabbitmq_server: RabbitMQ) -> Iterator[str]:
    """A virtual host of its own."""
    vhost = f"test-{next(_numbers)}"
    yield rabbitmq_server.create_vhost(vhost)
    rabbitmq_server.delete_vhost(vhost)


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """A fresh, migrated SQLite database."""
    path = tmp_path / "tasks.sqlite3"
    _copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The migrated SQLite database that each test gets a copy of."""
    path = tmp_path_factory.mktemp("template") / "tasks.sqlite3"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database on each system that the store supports, by turns."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]
)
def module_store_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A migrated database on each system, which the tests of a module share.

    A module may ask for variants, as in `older postgresql`: the last word is the system.
    """
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("module") / "tasks.sqlite3"
        _copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    yield from _database(request.getfixturevalue("postgresql_server"), _TEMPLATE)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def empty_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database without any table, on each system by turns."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tasks.sqlite3'}"
    return str(request.getfixturevalue("empty_postgresql_url"))


# --- servers of one test, which it may stop, kill and freeze --------------------------------------


@pytest.fixture
def own_postgresql() -> Iterator[PostgreSQL]:
    """A running PostgreSQL of this test's own; its ``postgres`` database is migrated."""
    with closing(_existing(PostgreSQL)) as server:
        server.start()
        migrate(server.url)
        yield server


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A running Redis of this test's own; its data survives a kill."""
    with closing(_existing(lambda: Redis(durable=True))) as server:
        server.start()
        yield server


@pytest.fixture
def own_rabbitmq(rabbitmq_server: RabbitMQ) -> Iterator[RabbitMQ]:
    """The RabbitMQ of the run, which this test may stop and freeze; its `/` is empty.

    One of its own would take five seconds of processor time to start.
    """
    yield rabbitmq_server
    rabbitmq_server.thaw()
    if not rabbitmq_server.is_started:
        rabbitmq_server.start()
    rabbitmq_server.delete_vhost("/")
    rabbitmq_server.create_vhost("/")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks that a test may stop, slow down and have refuse."""
    with Receiver() as running:
        yield running


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command that was called inside the tests' own process has set its logging up."""
    root = logging.getLogger()
    level = root.level
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        ours = structlog.stdlib.ProcessorFormatter
        root.handlers[:] = [one for one in root.handlers if not isinstance(one.formatter, ours)]
        root.setLevel(level)


@pytest.fixture
def blackhole() -> Iterator[Blackhole]:
    """A listener that takes every call and never answers."""
    with Blackhole() as hole:
        yield hole


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes: ``processes(…command)`` or ``processes.python("-m", …)``.

    All are ended with the test; it fails if a child outlived its parent.
    """
    started = Processes(tmp_path)
    yield started
    survivors = started.close()
    if survivors:
        pytest.fail("\n".join(survivors), pytrace=False)


# --- how ------------------------------------------------------------------------------------------


def migrate(url: str) -> None:
    """Bring a database to the newest schema, once there is one."""
    with suppress(ModuleNotFoundError):
        if find_spec("taskdb.store.engine.migrations.migrate"):
            import_module("taskdb.store.engine.migrations.migrate").migrate(url)


def _existing(make: Callable[[], S]) -> S:
    """The server; where its program is missing, a failure in CI and for what pip installs."""
    try:
        return make()
    except ServerMissingError as missing:
        if make is RabbitMQ and not os.environ.get("CI"):
            pytest.skip(str(missing))
        pytest.fail(str(missing), pytrace=False)


def _copy(template: Path, path: Path) -> None:
    with closing(sqlite3.connect(template)) as source, closing(sqlite3.connect(path)) as to:
        source.backup(to)


def _database(server: PostgreSQL, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    with ExitStack() as ending:
        ending.callback(server.drop_database, name)
        yield server.create_database(name, template)
        _assert_nobody_is_connected(server, name)


def _assert_nobody_is_connected(server: PostgreSQL, name: str) -> None:
    def report() -> str:
        return "the test to close its connections:\n" + "\n".join(server.connections_to(name))

    wait_until(lambda: not server.connections_to(name), timeout=3, describe=report)
