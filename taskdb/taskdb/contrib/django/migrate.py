"""Migrates and empties our tables with Django's: `migrate`, test databases and `flush`."""

from __future__ import annotations

import sys
from typing import Any

from django.db import connections
from django.db.transaction import atomic

from taskdb.client.default import default_taskdb
from taskdb.contrib.django import database
from taskdb.contrib.django.configuration import option
from taskdb.contrib.django.joined_connection import joined_connection
from taskdb.settings.settings import Settings
from taskdb.store.engine.migrations import migrate


def on_post_migrate(using: str, verbosity: int = 1, **given: Any) -> None:
    """Migrate our tables to this release if they are in the database that was just migrated.

    After a flush, which removes all data, remove our rows. `TASKDB['MIGRATE'] = False` switches
    both off.
    """
    store_url = Settings.load().store_url
    if database.alias_on(store_url, option("DATABASE")) != using:
        return
    _close_before_destruction(connections[using].creation)
    if not option("MIGRATE", default=True):
        return
    revision = _migrated(using, store_url)
    if "plan" not in given:
        # Only `migrate` passes a plan; `flush` sends the same signal without one.
        with atomic(using=using):
            migrate.empty(joined_connection(connections[using]))
    if verbosity >= 1 and "plan" in given:
        out = given.get("stdout") or sys.stdout
        out.write(f"  TaskDB: tables at revision {revision}\n")


def _migrated(using: str, store_url: str) -> str:
    wrapper = connections[using]
    if wrapper.vendor == "sqlite" and wrapper.is_in_memory_db():
        # Only this connection can reach it, so no other process can migrate it.
        return migrate.migrate_over(joined_connection(wrapper))
    return migrate.migrate(store_url)


def _close_before_destruction(creation: Any) -> None:
    """Let a test suite drop its database: PostgreSQL refuses while our connections are open."""
    if "destroy_test_db" in vars(creation):
        # `flush` sends the signal again.
        return
    destroy = creation.destroy_test_db

    def close_and_destroy(*arguments: Any, **options: Any) -> Any:
        default_taskdb().close()
        return destroy(*arguments, **options)

    creation.destroy_test_db = close_and_destroy
