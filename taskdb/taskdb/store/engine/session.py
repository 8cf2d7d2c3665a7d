"""A connection, ours or a caller's, that runs statements written with `:name`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import Connection, TextClause, text

Row = Mapping[str, Any]
Parameters = Mapping[str, Any]

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")

_ANSWERS: dict[str, tuple[str, ...] | None] = {}
"""The result columns of our statements: asking the driver takes longer than reading the rows."""


class Session(Protocol):
    """A connection that runs statements one after another."""

    @property
    def tells_before(self) -> bool:
        """Whether an update can return the values of a row before it."""

    def run(self, sql: str, parameters: Parameters, *, prepared: bool = True) -> list[Row]:
        """Run one statement and return its rows; ignores parameters that it does not name.

        With `prepared` false the server plans the statement again; only PostgreSQL's driver does.
        """


class DriverSession:
    """A connection of our own pool, used through its driver: layers cost more than the SQL.

    `cursor` belongs to the connection and stays open. `style` is the driver's spelling of a
    parameter, with one `%s` for the name.
    """

    __slots__ = ("_cursor", "_style", "tells_before")

    def __init__(self, cursor: Any, style: str, *, tells_before: bool = False) -> None:
        self._cursor = cursor
        self._style = style
        self.tells_before = tells_before

    def run(self, sql: str, parameters: Parameters, *, prepared: bool = True) -> list[Row]:
        cursor = self._cursor
        options = {} if prepared else {"prepare": False}
        cursor.execute(_placeholders(sql, self._style), parameters, **options)
        if sql not in _ANSWERS:
            description = cursor.description
            _ANSWERS[sql] = description and tuple(column[0] for column in description)
        names = _ANSWERS[sql]
        if names is None:
            return []
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


class JoinedSession:
    """A SQLAlchemy connection in a transaction of its owner, with any driver."""

    tells_before = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(
        self,
        sql: str,
        parameters: Parameters,
        *,
        prepared: bool = True,  # noqa: ARG002 - SQLAlchemy's connection has no such option
    ) -> list[Row]:
        result = self._connection.execute(_clause(sql), dict(parameters))
        if not result.returns_rows:
            return []
        names = tuple(result.keys())
        return [dict(zip(names, row, strict=True)) for row in result]


@lru_cache(maxsize=512)
def _placeholders(sql: str, style: str) -> str:
    return _PARAMETER.sub(lambda found: style % found.group(1), sql)


@lru_cache(maxsize=512)
def _clause(sql: str) -> TextClause:
    return text(sql)
