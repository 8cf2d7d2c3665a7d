"""Our columns as Django fields; they hide the differences between PostgreSQL and SQLite."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import models

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
