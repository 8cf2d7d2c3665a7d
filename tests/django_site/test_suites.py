"""Django's own test cases: their transactions never commit, and their databases come and go."""

import runpy
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.test import TestCase
from django.test.runner import DiscoverRunner
from sqlalchemy.engine import make_url

from taskdb import TaskDB, default_taskdb, submit_task
from taskdb.testing import Rehearsal
from tests.django_site import cases, project
from tests.django_site.orders.models import Order
from tests.integration.submit_site import count, messages

# The plugin as it is here: an editable install has a copy of it.
rehearsal = runpy.run_path(str(Path(__file__).parents[2] / "taskdb" / "pytest_taskdb.py"))[
    "rehearsal"
]


@pytest.fixture
def suite_database(
    store_url: str, tmp_path: Path, at_home: None, request: pytest.FixtureRequest
) -> Iterator[None]:
    """A project before its test suite: the runner makes the test database."""
    database = project.django_database(store_url)
    name = f"{make_url(store_url).database}_suite" if "postgresql" in store_url else None
    database["TEST"] = {"NAME": name, "MIGRATE": True}
    with project.taskdb_settings(tmp_path), project.databases(default=database):
        # Code under test that was used before there was a test database.
        assert default_taskdb().list_tasks() == ()
        yield
        default_taskdb().close()


def test_a_suite_of_django_leaves_neither_rows_nor_messages(suite_database: None) -> None:
    runner = DiscoverRunner(verbosity=0, interactive=False)
    names = [("default", connections["default"].settings_dict["NAME"])]
    old = runner.setup_databases(aliases={"default"})
    try:
        load = unittest.defaultTestLoader.loadTestsFromTestCase
        classes = [cases.InTransaction, cases.Rehearsed]
        classes += [cases.Committing, cases.RehearsedCommitting]
        suite = unittest.TestSuite(map(load, classes))
        result = unittest.TestResult()
        suite.run(result)
        assert [text for _, text in (*result.errors, *result.failures)] == []
        assert result.testsRun == 9
        assert count(default_taskdb()) == 0
        in_memory = connections["default"].vendor == "sqlite"
        # Only those that were committed can have been published.
        assert len(messages(default_taskdb())) <= (0 if in_memory else 2)
        # Our own connections, which would keep PostgreSQL from dropping the database.
        assert default_taskdb().list_tasks() == ()
    finally:
        runner.teardown_databases(old)
    assert [("default", connections["default"].settings_dict["NAME"])] == names


def test_migrate_makes_our_tables_and_flush_empties_them(
    empty_store_url: str, tmp_path: Path, at_home: None, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = project.django_database(f"sqlite:///{tmp_path / 'other.sqlite3'}")
    databases: dict[str, Any] = {
        "default": project.django_database(empty_store_url),
        "other": elsewhere,
    }
    with project.taskdb_settings(tmp_path), project.databases(**databases):
        try:
            call_command("migrate", database="other", run_syncdb=True)
            assert "TaskDB" not in capsys.readouterr().out
            with project.taskdb_settings(tmp_path, MIGRATE=False):
                call_command("migrate", run_syncdb=True, verbosity=0)
            assert "taskdb_task" not in connections["default"].introspection.table_names()
            call_command("migrate")
            assert "TaskDB: tables at revision" in capsys.readouterr().out
            with transaction.atomic():
                submit_task("orders.pack")
            call_command("flush", interactive=False, database="other", verbosity=0)
            assert count(default_taskdb()) == 1
            call_command("flush", interactive=False, verbosity=0)
            assert count(default_taskdb()) == 0
        finally:
            default_taskdb().close()
            connections.close_all()


@pytest.fixture
def db(taskdb: TaskDB) -> Iterator[None]:
    """The transaction of a TestCase, which never commits: pytest-django's fixture of this name."""
    atomics = TestCase._enter_atomics()
    yield
    TestCase._rollback_atomics(atomics)


def test_the_fixture_of_pytest_sees_the_transaction_of_the_test(
    rehearsal: Rehearsal, db: None
) -> None:
    with transaction.atomic():
        order = Order.objects.create(customer="Ada")
        submit_task("orders.rename", {"order": order.pk})
    rehearsal.assert_submitted("orders.rename", count=1)
    assert rehearsal.drain().failed == ()
    order.refresh_from_db()
    assert order.customer == "ADA"
