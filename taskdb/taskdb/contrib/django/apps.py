"""The Django app: the connections that it sets up at the start of a project."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.db import router
from django.db.models.signals import post_migrate

from taskdb.client.submission.transaction import join_transactions_of
from taskdb.contrib.django import database
from taskdb.contrib.django.checks import check_settings, check_tables
from taskdb.contrib.django.configuration import DjangoSettings
from taskdb.contrib.django.fixtures import NoFixtures
from taskdb.contrib.django.migrate import on_post_migrate
from taskdb.contrib.django.surrounding import sound_connections
from taskdb.contrib.django.transaction import DjangoTransactions
from taskdb.settings.source import read_settings_of
from taskdb.types.registry import around

settings = DjangoSettings()
transactions = DjangoTransactions()


class TaskDBConfig(AppConfig):
    """Registers settings, transactions, checks and migrations; opens no connection."""

    name = "taskdb.contrib.django"
    label = "taskdb"
    verbose_name = "TaskDB"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        database.remember_names()
        router.routers.insert(0, NoFixtures())
        read_settings_of(settings)
        join_transactions_of(transactions)
        around(sound_connections)
        checks.register(check_settings)
        checks.register(check_tables, checks.Tags.database)
        post_migrate.connect(on_post_migrate, sender=self)
