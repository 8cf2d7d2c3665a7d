"""Our columns as Django fields; they hide the differences between PostgreSQL and SQLite."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import models
from django.utils import timezone

from taskdb.store.engine.sqlite.sqlite import SQLite


class IdField(models.UUIDField):
    """An id: a UUID, on SQLite canonical text (Django's own field omits the dashes)."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        if not prepared:
            value = self.to_python(value)
        if value is None or connection.vendor == "postgresql":
            return value
        return str(value)

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return value if value is None or isinstance(value, UUID) else UUID(str(value))


class MomentField(models.DateTimeField):
    """A moment: timestamptz, on SQLite text that sorts by time."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        if not isinstance(value, datetime) or connection.vendor == "postgresql":
            return super().get_db_prep_value(value, connection, prepared)
        aware = value if value.tzinfo is not None else value.astimezone()
        return SQLite().spell(aware.astimezone(UTC))

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return local_moment(value)


def local_moment(value: Any) -> Any:
    """Return a moment in Django's time zone: naive without `USE_TZ`, as Django's own values are."""
    if value is None or value.tzinfo is None:
        return value
    return timezone.localtime(value) if settings.USE_TZ else timezone.make_naive(value)
