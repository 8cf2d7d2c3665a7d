"""A connection that stays out of its pool from one move to the next.

Checking it out and in costs a third of the driver's time for a statement.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Engine

_KEPT_SECONDS = 60.0
"""After this it returns to the pool, which checks its age."""

_inherited: list[object] = []
"""Connections that a forked process inherited, referenced so that nothing closes them."""

Lent = tuple[Any, float]
"""A connection of the pool, and the time until which it may be kept."""


class KeptConnection:
    """Lends connections of one pool, and keeps one of them at hand."""

    def __init__(self) -> None:
        self._kept: list[Lent] = []

    def take(self, engine: Engine) -> Lent:
        """The kept connection, or another one of the pool."""
        try:
            return self._kept.pop()
        except IndexError:
            return engine.raw_connection(), time.monotonic() + _KEPT_SECONDS

    def give(self, lent: Lent) -> None:
        """Take back a usable connection."""
        connection, until = lent
        if self._kept or time.monotonic() > until:
            connection.close()
        else:
            self._kept.append(lent)

    def close(self) -> None:
        """Give the kept connection back to the pool."""
        while self._kept:
            self._kept.pop()[0].close()

    def forget(self) -> None:
        """Leave the kept connection to the parent process; do not close it."""
        _inherited.append(self._kept)
        self._kept = []
