"""Reads moments of PostgreSQL that Python cannot hold and the driver refuses."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from taskdb.store.engine.types import nearest_moment

_TIMESTAMPTZ = 1184
"""The number of the type in PostgreSQL's catalog."""


def read_any_moment(connection: Any) -> None:
    """Make a psycopg connection read `infinity`, and a year of five digits, as a bound."""
    connection.adapters.register_loader(_TIMESTAMPTZ, _tolerant_loader())


@cache
def _tolerant_loader() -> type[Any]:
    # Only PostgreSQL needs the driver.
    from psycopg import DataError, adapters  # noqa: PLC0415
    from psycopg.adapt import Loader  # noqa: PLC0415
    from psycopg.pq import Format  # noqa: PLC0415

    exact: Any = adapters.get_loader(_TIMESTAMPTZ, Format.TEXT)

    class TolerantLoader(Loader):
        """Loads by the driver's own loader; replaces moments that it refuses."""

        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._load = exact(oid, context).load

        def load(self, data: Any) -> datetime:
            try:
                moment: datetime = self._load(data)
            except DataError:
                return nearest_moment(bytes(data).decode())
            return moment

    return TolerantLoader
