"""`TASKDB` in Django's settings, and what `manage.py check` says of it."""

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings

from taskdb import Settings, TaskDB, default_taskdb
from taskdb.errors import SettingsError
from tests.django_site import project

SHOP = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/srv/shop.sqlite3"}


def test_djangos_settings_stand_above_the_environment(
    at_home: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_DEFAULT_QUEUE", "of-the-environment")
    monkeypatch.setenv("TASKDB_DEFAULT_TENANT", "of-the-environment")
    monkeypatch.setenv("TASKDB_TASK_MODULES", "one, two")
    with (
        project.databases(default=SHOP),
        override_settings(TASKDB={"DEFAULT_QUEUE": "shop", "BROKER_URL": None}),
    ):
        settings = Settings.load()
        assert settings.default_queue == "shop"
        assert settings.default_tenant == "of-the-environment"
        assert settings.store_url == "sqlite:////srv/shop.sqlite3"
        assert settings.task_modules == ("one", "two", "tests.django_site.orders.tasks")
        # An environment that is handed over is asked alone.
        assert Settings.load({}).default_queue == "taskdb"
        monkeypatch.setenv("TASKDB_DATABASE_URL", "sqlite:////srv/tasks.sqlite3")
        assert Settings.load().store_url == "sqlite:////srv/tasks.sqlite3"
        with override_settings(TASKDB={"AUTODISCOVER": False}):
            assert Settings.load().task_modules == ("one", "two")


def test_a_secret_may_stand_in_a_file(
    at_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, modules = tmp_path / "database", tmp_path / "modules"
    database.write_text("sqlite:////srv/tasks.sqlite3\n")
    modules.write_text("one, two\n")
    files = {"DATABASE_URL_FILE": database, "TASK_MODULES_FILE": str(modules)}
    expected = ("one", "two", "tests.django_site.orders.tasks")
    with project.databases(default=SHOP):
        with override_settings(TASKDB=files):
            settings = Settings.load()
            assert (settings.store_url, settings.task_modules) == (
                "sqlite:////srv/tasks.sqlite3", expected,
            )  # fmt: skip
        for name, file in files.items():
            monkeypatch.setenv(f"TASKDB_{name}", str(file))
        with override_settings(TASKDB={}):
            settings = Settings.load()
            assert (settings.store_url, settings.task_modules) == (
                "sqlite:////srv/tasks.sqlite3", expected,
            )  # fmt: skip
        twice = {"DATABASE_URL": "sqlite:////x", "DATABASE_URL_FILE": database}
        with override_settings(TASKDB=twice), pytest.raises(SettingsError, match="both set"):
            Settings.load()


def test_an_unknown_name_is_refused_with_the_one_that_is_meant(at_home: None) -> None:
    wrong: list[tuple[Any, str]] = [
        ({"BROKER_URI": "x"}, "BROKER_URI.*did you mean .*BROKER_URL"),
        ({"TASKDB_BROKER_URL": "x"}, "TASKDB_BROKER_URL.*did you mean .*BROKER_URL"),
        ({"broker_url": "x"}, "broker_url.*did you mean .*BROKER_URL"),
        ([("BROKER_URL", "x")], "make it a dict"),
        ({"RELAY_BATCH": 0}, "RELAY_BATCH"),
    ]
    with project.databases(default=SHOP):
        for given, message in wrong:
            with override_settings(TASKDB=given), pytest.raises(SettingsError, match=message):
                Settings.load()


def test_the_default_client_follows_the_settings(
    taskdb: TaskDB, tmp_path: Path, store_url: str
) -> None:
    with project.taskdb_settings(tmp_path, DEFAULT_QUEUE="other"):
        assert default_taskdb().settings.default_queue == "other"
        default_taskdb().close()
    assert default_taskdb().settings.default_queue == "taskdb"
    assert default_taskdb() is default_taskdb()


def found(**given: Any) -> list[str]:
    """The ids of what `manage.py check` complains about."""
    with override_settings(TASKDB=given):
        said = run_checks()
    return sorted(str(one.id) for one in said if str(one.id).startswith("taskdb."))


def test_check_names_what_is_wrong(at_home: None, tmp_path: Path) -> None:
    with project.databases(default=SHOP):
        assert found() == ["taskdb.W002"]
        assert found(BROKER_URI="x") == ["taskdb.E001"]
        assert found(BROKER_URL="reddis://localhost") == ["taskdb.E002", "taskdb.W002"]
        assert found(TRUSTED_PROXIES="all") == ["taskdb.E001"]
        assert found(DATABASE_URL=f"sqlite:///{tmp_path / 'tasks.sqlite3'}") == ["taskdb.W001"]
    immediate = {**SHOP, "OPTIONS": {"transaction_mode": "IMMEDIATE"}}
    with project.databases(default=immediate):
        assert found() == []
        assert found(DATABASE="tasks") == ["taskdb.E001"]


def test_check_of_a_database_says_that_tables_are_missing(
    empty_store_url: str, at_home: None, tmp_path: Path
) -> None:
    with (
        project.taskdb_settings(tmp_path),
        project.databases(default=project.django_database(empty_store_url)),
    ):
        (one,) = [e for e in run_checks(databases=["default"]) if str(e.id) == "taskdb.W003"]
        assert "migrate" in one.msg
        call_command("taskdb", "migrate")
        assert not [e for e in run_checks(databases=["default"]) if str(e.id) == "taskdb.W003"]
        connections.close_all()


def test_a_command_that_fails_is_djangos_error(taskdb: TaskDB) -> None:
    call_command("taskdb", "list")
    with pytest.raises(CommandError, match="exit code") as raised:
        call_command("taskdb", "show", "nothing")
    assert raised.value.returncode != 0
