"""A connection that stays out of its pool from one move to the next.

To check it out and in took as long as a third of what a driver needs for a statement.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Engine

_KEPT_SECONDS = 60.0
"""Then it goes back, so that the pool can see to its age."""

_inherited: list[object] = []
"""What a forked process got from its parent, held so that nothing here ever closes it."""

Line = tuple[Any, float]
"""A connection of the pool, and until when it may be kept."""


class KeptLine:
    """Lends connections of one pool, and keeps one of them at hand."""

    def __init__(self) -> None:
        self._lines: list[Line] = []

    def take(self, engine: Engine) -> Line:
        """The kept connection, or another one of the pool."""
        try:
            return self._lines.pop()
        except IndexError:
            return engine.raw_connection(), time.monotonic() + _KEPT_SECONDS

    def give(self, line: Line) -> None:
        """Take back a connection that is sound."""
        connection, until = line
        if self._lines or time.monotonic() > until:
            connection.close()
        else:
            self._lines.append(line)

    def close(self) -> None:
        """Give the kept connection back to the pool."""
        while self._lines:
            self._lines.pop()[0].close()

    def forget(self) -> None:
        """Leave the kept connection to the process that this one was forked from."""
        _inherited.append(self._lines)
        self._lines = []
