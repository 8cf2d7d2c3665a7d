"""The row of this beat in the database, which shows `taskdb doctor` that a beat runs."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

from ulid import ULID

from taskdb.errors import DatabaseError
from taskdb.logger import get_logger
from taskdb.settings.settings import Settings
from taskdb.store.store import Store

log = get_logger("taskdb.beat")


class Presence:
    """Renews the row of this beat as often as a worker renews its own."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._beats = store.beats
        self._lease = timedelta(seconds=settings.worker_lease_seconds)
        self._name = f"{socket.gethostname()}/{os.getpid()}/{ULID()}"
        self._has_looked = False

    def run_once(self) -> bool:
        """Renew the row. Returns False: there is never more to do at once. Raises DatabaseError."""
        self._beats.renew(self._name, self._lease)
        if not self._has_looked:
            self._beats.forget_dead()
            self._has_looked = True
        return False

    def close(self) -> None:
        """Delete the row. Without a database the row expires."""
        try:
            self._beats.leave(self._name)
        except DatabaseError as error:
            log.debug("beat.removal_failed", reason=str(error))
