"""The system checks of this package for `manage.py check`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's names
from django.db import connections

from taskdb.celery.configuration import check_broker_scheme
from taskdb.contrib.django import database
from taskdb.contrib.django.configuration import option
from taskdb.contrib.django.joined_connection import joined_connection
from taskdb.errors import DatabaseError, DatabaseTooNew, SettingsError
from taskdb.settings.settings import Settings
from taskdb.store.engine.migrations import revision

WRONG_SETTINGS = "taskdb.E001"
UNKNOWN_BROKER = "taskdb.E002"
APART = "taskdb.W001"
LATE_LOCK = "taskdb.W002"
NOT_MIGRATED = "taskdb.W003"


def check_settings(**_: Any) -> list[CheckMessage]:
    """Check settings, broker, and the transaction that a submit joins; opens no connection."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        hint = "Mend TASKDB in the settings, or the TASKDB_… variable."
        return [Error(str(error), hint=hint, id=WRONG_SETTINGS)]
    return [*_check_broker(settings), *_check_transactions(settings)]


def check_tables(databases: Iterable[str] | None = None, **_: Any) -> list[CheckMessage]:
    """With `check --database`: check that this release can work on our tables.

    It gives no errors, only warnings; none in `migrate`, which checks before it makes the tables.
    """
    if "migrate" in sys.argv[1:]:
        return []
    try:
        alias = database.alias_on(Settings.load().store_url, option("DATABASE"))
    except SettingsError:
        return []
    if alias is None or alias not in (databases or ()):
        return []
    try:
        with connections[alias].cursor():
            revision.check(joined_connection(connections[alias]))
    except DatabaseTooNew as error:
        return [Warning(str(error), hint="Upgrade celery-taskdb.", id=NOT_MIGRATED)]
    except DatabaseError as error:
        hint = f"Run manage.py migrate --database {alias}"
        return [Warning(str(error), hint=hint, id=NOT_MIGRATED)]
    return []


def _check_broker(settings: Settings) -> Iterator[CheckMessage]:
    try:
        check_broker_scheme(settings)
    except SettingsError as error:
        yield Error(str(error), id=UNKNOWN_BROKER)


def _check_transactions(settings: Settings) -> Iterator[CheckMessage]:
    alias = database.alias_on(settings.store_url, option("DATABASE"))
    if alias is None:
        yield Warning(
            "Tasks are in none of the databases of this project: a submit inside atomic() makes "
            "its row after the commit, and a process that dies in between loses it.",
            hint="Let tasks live in a database of DATABASES (TASKDB['DATABASE'] names its alias).",
            id=APART,
        )
        return
    given = connections[alias].settings_dict.get("OPTIONS") or {}
    if connections[alias].vendor == "sqlite" and given.get("transaction_mode") != "IMMEDIATE":
        yield Warning(
            f"Transactions of the SQLite database {alias!r} take their lock at the first write: "
            "one that has read before fails when another process has written meanwhile.",
            hint='Give OPTIONS {"transaction_mode": "IMMEDIATE"} (Django 5.1 and newer).',
            id=LATE_LOCK,
        )
