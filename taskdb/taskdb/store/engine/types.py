"""The types of columns: how values are read from rows and written into them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Dialect, Float, Text, cast, type_coerce
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, JSONB, TIMESTAMP, UUID
from sqlalchemy.types import TypeDecorator, TypeEngine

from taskdb.model.bounds import EARLIEST, LATEST, TOO_DEEP
from taskdb.model.json_text import Unreadable, encode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_number(column: str) -> str:
    """PostgreSQL's SQL for a moment as microseconds since 1970.

    No setting of a session, such as `DateStyle`, changes that number. A moment after the year 9999
    or before the year 1 BC becomes the nearest bound.
    """
    later, earlier = "TIMESTAMPTZ '10000-01-01 00:00:00Z'", "TIMESTAMPTZ '0001-01-01 00:00:00Z BC'"
    bounded = f"GREATEST(LEAST({column}, {later}), {earlier})"
    number = f"CAST(EXTRACT(EPOCH FROM {bounded}) * 1000000 AS BIGINT)"
    return f"CASE WHEN {column} IS NOT NULL THEN {number} END"


class Moment(TypeDecorator[datetime]):
    """A moment in UTC: timestamptz, or on SQLite text that sorts by time."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return moment_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the signature is SQLAlchemy's
        return as_moment(value)


class Json(TypeDecorator[Any]):
    """A JSON value: JSONB, or text on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(JSONB(none_as_null=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return spelled(value)

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        # Text on both databases: after a driver's decoding, text and JSON text look alike.
        return type_coerce(cast(column, Text), self)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - the signature is SQLAlchemy's
        return as_readable(value)


class Id(TypeDecorator[str]):
    """A UUID; canonical text in Python."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(UUID(as_uuid=False))
        return dialect.type_descriptor(Text())


Number = Float().with_variant(DOUBLE_PRECISION(), "postgresql")
"""A floating-point number."""


def moment_text(value: datetime) -> str:
    """Spell a moment as SQLite's `strftime` does, to the millisecond."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_moment(value: Any) -> datetime | None:
    """Read a moment as either database spells it.

    A moment that Python cannot hold (`infinity`, a year of five digits) becomes the latest or the
    earliest allowed one: one row must not make all others unreadable.
    """
    if value is None:
        return None
    try:
        if isinstance(value, int):
            return _EPOCH + timedelta(microseconds=value)
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return nearest_moment(str(value))


def moment(value: Any) -> datetime:
    """Read a moment of a column that is never NULL."""
    return as_moment(value) or datetime.min.replace(tzinfo=UTC)


def nearest_moment(spelled: str) -> datetime:
    """Return the bound that replaces an unreadable moment; LATEST for any other text."""
    is_early = spelled.startswith(("-", "0")) or spelled.endswith("BC")
    return EARLIEST if is_early else LATEST


def spelled(value: Any) -> str:
    """Encode a value for a JSON column; its parts were checked on input."""
    return encode(value, "the value", deepest=None)


def as_json(value: str | None) -> Any:
    """Decode a JSON column that a raw statement read as text. Raises ValueError."""
    return None if value is None else json.loads(value)


def as_readable(value: str | None) -> Any:
    """Decode like `as_json`, but return Unreadable for bad JSON, so that other rows can be read."""
    try:
        return as_json(value)
    except RecursionError:
        return Unreadable(TOO_DEEP)
    except ValueError as error:
        # Not JSON, or an integer with more digits than Python reads.
        return Unreadable(str(error))


def as_texts(value: str | None) -> tuple[str, ...]:
    """The texts of a JSON array; empty for any other value."""
    try:
        found = as_json(value)
    except ValueError:
        return ()
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()
