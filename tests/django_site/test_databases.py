"""Whose database it is: the one of Django that ours is, and one that is no database of Django's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.utils import DatabaseError as DjangoDatabaseError
from django.test import override_settings

from taskdb import (
    InvalidInput,
    TaskDB,
    TaskNotFound,
    TaskStatus,
    submit_fan_out,
    submit_many,
    submit_sequence,
    submit_task,
)
from taskdb.client.default import default_taskdb
from taskdb.contrib.django.database import alias_on, url_of
from taskdb.errors import DatabaseNotMigrated, DatabaseUnreachable, SettingsError
from tests.django_site import project
from tests.django_site.orders.models import Order
from tests.django_site.test_transaction import place, refused
from tests.integration.submit_site import count, events, logged, until_queued
from tests.store.trees import part_ids


@contextmanager
def site(folder: Path, databases: dict[str, Any], **given: Any) -> Iterator[TaskDB]:
    """A project with these databases and settings."""
    with project.taskdb_settings(folder, **given), project.databases(**databases):
        project.create_orders()
        try:
            yield default_taskdb()
        finally:
            default_taskdb().close()
            connections.close_all()


@pytest.fixture
def orders_elsewhere(tmp_path: Path) -> dict[str, Any]:
    return project.django_database(f"sqlite:///{tmp_path / 'orders.sqlite3'}")


# --- another alias --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["named", "url"])
def test_the_transaction_that_counts_is_that_of_the_alias_on_our_database(
    store_url: str, tmp_path: Path, at_home: None, orders_elsewhere: dict[str, Any], way: str
) -> None:
    given = {"DATABASE": "tasks"} if way == "named" else {"DATABASE_URL": store_url}
    both = {"default": orders_elsewhere, "tasks": project.django_database(store_url)}
    with site(tmp_path, both, **given) as taskdb:
        kept = []
        with refused(using="tasks"):
            place()
        with refused(), transaction.atomic(using="tasks"):
            # The order is taken back, and not the task: these are two transactions.
            kept.append(place())
        with refused():
            # In no transaction of our database: it waits for the one there is.
            place()
        with transaction.atomic():
            kept.append(place())
            assert count(taskdb) == 1
        until_queued(taskdb, *kept)
        assert count(taskdb) == 2
        with transaction.atomic(), transaction.atomic(using="tasks"):
            # Who says so waits for the other database all the same.
            entity = submit_task("orders.pack", session=connections["default"])
            with pytest.raises(TaskNotFound):
                taskdb.get_task(entity.id)
        until_queued(taskdb, entity.id)


# --- a database that is none of Django's ----------------------------------------------------------


@pytest.fixture
def apart(
    store_url: str, tmp_path: Path, at_home: None, orders_elsewhere: dict[str, Any]
) -> Iterator[TaskDB]:
    """Orders are in Django's database, tasks in another one."""
    with site(tmp_path, {"default": orders_elsewhere}, DATABASE_URL=store_url) as taskdb:
        yield taskdb


def test_another_database_has_the_row_after_the_commit_and_only_then(apart: TaskDB) -> None:
    with transaction.atomic():
        kept = submit_task("orders.pack", {"order": 1})
        late = submit_task("orders.pack", delay=3600)
        with refused():
            submit_many("orders.pack", [{"order": 2}, {"order": 3}])
        assert (kept.status, late.status) == (TaskStatus.CREATED, TaskStatus.SCHEDULED)
        assert count(apart) == 0
    until_queued(apart, kept.id)
    assert late.refresh().run_at is not None
    assert kept.refresh().input == {"order": 1}
    with refused():
        place()
    assert count(apart) == 2
    assert Order.objects.count() == 0


def test_trees_in_another_database_follow_the_commit_and_are_checked_before(apart: TaskDB) -> None:
    with transaction.atomic():
        fan_out = submit_fan_out("orders.pack", ({"order": n} for n in range(3)))
        sequence = submit_sequence("orders.close", {"order": 1})
        with pytest.raises(InvalidInput, match=r"1\.order"):
            submit_fan_out("orders.pack", [{"order": 1}, {"order": "many"}])
        assert count(apart) == 0
    (step,) = apart.trees.sub_tasks(sequence.id)
    until_queued(apart, step.id, *part_ids(apart.store, fan_out.id))


def test_a_row_that_cannot_be_made_after_the_commit_is_an_error_that_is_heard(
    postgresql_url: str, tmp_path: Path, at_home: None, orders_elsewhere: dict[str, Any]
) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with site(tmp_path, {"default": orders_elsewhere}, DATABASE_URL=nowhere):
        with logged() as found, pytest.raises(DatabaseUnreachable), transaction.atomic():
            place()
        assert Order.objects.count() == 1
        (lost,) = events(found, "submit.lost")
        assert len(lost["task_ids"]) == 1


# --- how Django has its database ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"USE_TZ": False, "TIME_ZONE": "Asia/Tokyo"}, {}),
        ({"USE_TZ": True, "TIME_ZONE": "America/Lima"}, {"server_side_binding": True}),
        ({"DEBUG": True}, {"isolation_level": 4}),
        ({}, {"pool": {"min_size": 0, "max_size": 2}}),
    ],
)
def test_moments_are_the_same_whatever_django_does_to_them(
    postgresql_url: str,
    tmp_path: Path,
    at_home: None,
    settings: dict[str, Any],
    options: dict[str, Any],
) -> None:
    database = project.django_database(postgresql_url, **options)
    if "pool" not in options:
        database["CONN_MAX_AGE"] = None
    with override_settings(**settings), site(tmp_path, {"default": database}) as taskdb:
        with transaction.atomic():
            entity = submit_task("orders.ship", {"reference": "a"}, delay=60)
            fan_out = submit_fan_out("orders.pack", [{"order": 1}])
            again = submit_task("orders.ship", {"reference": "a"}, on_conflict="keep")
        assert (again.created_at, again.run_at) == (entity.created_at, entity.run_at)
        for one in (entity, fan_out):
            assert one.created_at.utcoffset() is not None
            assert taskdb.get_task(one.id).created_at == one.created_at


def test_a_database_without_our_tables_says_what_to_run(
    empty_store_url: str, tmp_path: Path, at_home: None
) -> None:
    with site(tmp_path, {"default": project.django_database(empty_store_url)}):
        with pytest.raises(DatabaseNotMigrated, match=r"manage.py migrate"), transaction.atomic():
            place()
        assert Order.objects.count() == 0
        with transaction.atomic():
            Order.objects.create(customer="Ada")


def test_a_transaction_that_is_broken_takes_no_task(taskdb: TaskDB) -> None:
    with pytest.raises(DjangoDatabaseError), transaction.atomic():  # noqa: PT012 - the block is the matter
        with pytest.raises(ZeroDivisionError), transaction.atomic(savepoint=False):
            raise ZeroDivisionError
        submit_task("orders.pack")
    assert count(taskdb) == 0


# --- where the URL comes from ---------------------------------------------------------------------


def test_the_url_is_that_of_djangos_own_settings() -> None:
    entry = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop",
        "USER": "ada",
        "PASSWORD": "p@ss:/word",
        "HOST": "db.example",
        "PORT": "6432",
        "OPTIONS": {"sslmode": "require", "pool": True, "assume_role": "writer"},
    }
    memory = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "file:memorydb_default?mode=memory&cache=shared",
    }
    with project.databases(default=entry, memory=memory):
        assert url_of("default") == (
            "postgresql+psycopg://ada:p%40ss%3A%2Fword@db.example:6432/shop"
            "?options=-c+role%3Dwriter&sslmode=require"
        )
        assert url_of("memory") == (
            "sqlite:///file:memorydb_default?mode=memory&cache=shared&uri=true"
        )
        assert alias_on("postgresql://other:x@db.example:6432/shop", None) == "default"
        assert alias_on("postgresql://ada@db.example/shop", None) is None
        assert alias_on("postgresql://ada@db.example/shop", "default") == "default"


def test_a_database_that_cannot_be_ours_is_refused_when_it_is_named(
    tmp_path: Path, at_home: None
) -> None:
    dummy = {"ENGINE": "django.db.backends.dummy", "NAME": "x"}
    with project.databases(default=dummy):
        with (
            project.taskdb_settings(tmp_path, DATABASE="tasks"),
            pytest.raises(SettingsError, match="no database 'tasks'"),
        ):
            TaskDB()
        with (
            project.taskdb_settings(tmp_path, DATABASE="default"),
            pytest.raises(SettingsError, match="neither a PostgreSQL"),
        ):
            TaskDB()
        with project.taskdb_settings(tmp_path):
            assert TaskDB().settings.is_embedded_store
