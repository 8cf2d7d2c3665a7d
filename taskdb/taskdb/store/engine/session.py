"""A connection that runs statements written with `:name`, whoever it belongs to."""

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
"""The columns of our statements' answers: to ask the driver takes longer than to read the rows."""


class Session(Protocol):
    """Where statements run, one after another."""

    @property
    def tells_before(self) -> bool:
        """Whether an update answers what a row was before, if it is asked."""

    def run(self, sql: str, parameters: Parameters, *, prepared: bool = True) -> list[Row]:
        """Run one statement and return its rows; parameters it does not name are left out.

        With `prepared` false, which PostgreSQL's driver alone knows, it is planned anew.
        """


class DriverSession:
    """A connection of our own pool, through its driver: a move costs more in layers than in SQL.

    `cursor` is one of the connection's, which is left open; `style` is the driver's spelling of a
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
    """A connection of SQLAlchemy's in a transaction of its owner, with whatever driver it has."""

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
