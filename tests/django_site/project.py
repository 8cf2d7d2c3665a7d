"""A Django project in the process of the tests; it is at home in it for one test at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
from asgiref.local import Local
from django.conf import settings
from django.db import connections
from django.test import override_settings
from sqlalchemy.engine import make_url

from taskdb import set_default
from taskdb.client.submission.transaction import join_transactions_of, leave_transactions_of
from taskdb.contrib.django import database
from taskdb.settings.source import forget_settings_of, read_settings_of

APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "taskdb.contrib.django",
    "tests.django_site.orders",
]
TASKS = {
    "QUEUES": ["default", "mail"],
    "OPTIONS": {
        "types": {
            "*.fails": {"retry": {"max_attempts": 2, "backoff": 0}},
            "*.leaves": {"retry": {"max_attempts": 1, "after_crash": False}},
        }
    },
}

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "taskdb.contrib.django.middleware.record_submitter",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
WEB = {
    "ROOT_URLCONF": "tests.django_site.urls",
    "ALLOWED_HOSTS": ["testserver"],
    "MIDDLEWARE": MIDDLEWARE,
    "TEMPLATES": TEMPLATES,
    "STATIC_URL": "/static/",
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
}
"""The settings of a project that serves the admin."""


def set_up() -> None:
    """Set the project up, once: Django has one for a process."""
    settings.configure(
        SECRET_KEY="nobody's",
        INSTALLED_APPS=APPS,
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        TASKDB={},
        TASKS={
            "default": {"BACKEND": "taskdb.contrib.django.TaskDBBackend", **TASKS},
            "backport": {"BACKEND": "taskdb.contrib.django.BackportBackend", **TASKS},
        },
    )
    django.setup()
    leave()


def enter() -> None:
    """Have this package look at Django, as it does in a project."""
    read_settings_of(_app().settings)
    join_transactions_of(_app().transactions)


def leave() -> None:
    """... and no longer, so that the tests of everything else see no Django."""
    set_default(None)
    forget_settings_of(_app().settings)
    leave_transactions_of(_app().transactions)


@contextmanager
def databases(**given: dict[str, Any]) -> Iterator[None]:
    """Let these be the project's databases."""
    _use(given)
    try:
        yield
    finally:
        for connection in connections.all(initialized_only=True):
            connection.close()
            if hasattr(connection, "close_pool"):
                connection.close_pool()
        _use({})


def django_database(store_url: str, **options: Any) -> dict[str, Any]:
    """An entry of DATABASES for the database at this URL."""
    url = make_url(store_url)
    if url.get_backend_name() == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": url.database,
            "OPTIONS": {"timeout": 20, **options},
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.database,
        "USER": url.username or "",
        "PASSWORD": url.password or "",
        "HOST": url.host or url.query.get("host", ""),
        "PORT": str(url.port or url.query.get("port", "")),
        "OPTIONS": options,
    }


def create_orders(alias: str = "default") -> None:
    """Make the one table of the project's own app."""
    from tests.django_site.orders.models import Order  # noqa: PLC0415 - once Django is set up

    with connections[alias].schema_editor() as editor:
        editor.create_model(Order)


def taskdb_settings(folder: Path, **given: Any) -> Any:
    """`TASKDB` of the project, with its messages and payloads in a folder."""
    return override_settings(TASKDB={"DATA_DIR": folder, "RELAY_GRACE_SECONDS": 0.2, **given})


def _use(given: dict[str, dict[str, Any]]) -> None:
    connections.settings = settings.DATABASES = connections.configure_settings(dict(given) or None)
    connections._connections = Local(connections.thread_critical)
    database.remember_names()


def _app() -> Any:
    from taskdb.contrib.django import apps  # noqa: PLC0415 - once there are settings

    return apps
