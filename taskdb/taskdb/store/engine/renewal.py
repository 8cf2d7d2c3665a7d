"""The age of a pool's connections: after a renewal no older one is used again.

A connection in use during the renewal returns to the pool, which replaces it instead of lending it
again. A new pool would not know that connection, and would leave it open.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

_AGE = "taskdb.age"


class Renewal:
    """Counts the renewals of one engine's pool."""

    def __init__(self, engine: Engine) -> None:
        self._age = 0
        event.listen(engine, "connect", self._note)
        event.listen(engine, "checkout", self._check)

    def renew(self) -> None:
        """Stop lending the connections that exist now."""
        self._age += 1

    def is_stale(self, info: dict[Any, Any]) -> bool:
        """Whether the connection with this `info` is older than the last renewal."""
        return bool(info.get(_AGE) != self._age)

    def _note(self, _connection: Any, record: Any) -> None:
        record.info[_AGE] = self._age

    def _check(self, _connection: Any, record: Any, _lent: Any) -> None:
        if self.is_stale(record.info):
            # The pool closes it and opens another one.
            raise DisconnectionError
