"""Delivers alarms of failures at once, from a thread of the worker's main process.

It is only faster: the loops of a beat do the same work, and all that this thread misses.
"""

from __future__ import annotations

import threading
import time

from taskdb.client.taskdb import TaskDB
from taskdb.errors import DatabaseError
from taskdb.logger import get_logger
from taskdb.outgoing.deliverer import Deliverer, alarm_deliverer
from taskdb.outgoing.folder import Folder

log = get_logger("taskdb.alarm")

LEAST_PAUSE_SECONDS = 0.25
"""The pause between two passes: many failures at once are counted together."""
_LONGEST_PAUSE_SECONDS = 5.0
"""The pause while another transaction has the cursor, since nothing can be counted then."""
_SETTLE_SECONDS = 0.02
"""The pause before a pass: after one failure, others often follow."""


class Notifier:
    """Folds failures and delivers alarms when it is woken. Without channels it does nothing."""

    def __init__(self, taskdb: TaskDB) -> None:
        self._taskdb = taskdb
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._deliverer: Deliverer | None = None

    def start(self) -> None:
        """Start the thread in this process."""
        settings, store = self._taskdb.settings, self._taskdb.store
        if not settings.alarm_channels:
            # A beat with channels delivers the alarms.
            return
        self._deliverer = alarm_deliverer(settings, store, own_channels_only=True)
        self._thread = threading.Thread(
            target=self._work,
            args=[Folder(settings, store), self._deliverer],
            name="taskdb-notifier",
            daemon=True,
        )
        self._thread.start()

    def wake(self) -> None:
        """Look for failures soon. Returns at once. Any thread may call it."""
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """Make one more pass, then end. Waits this many seconds at most."""
        if self._thread is None or self._deliverer is None:
            return
        self._stopping.set()
        self._wake.set()
        self._thread.join(seconds)
        self._deliverer.close(seconds)
        self._thread = None

    def _work(self, folder: Folder, deliverer: Deliverer) -> None:
        pause = LEAST_PAUSE_SECONDS
        while True:
            self._wake.wait()
            if not self._stopping.wait(_SETTLE_SECONDS):
                self._wake.clear()
            began = time.monotonic()
            is_busy = self._pass(folder, deliverer)
            if self._stopping.is_set():
                return
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS) if is_busy else LEAST_PAUSE_SECONDS
            self._stopping.wait(max(0.0, pause - (time.monotonic() - began)))

    def _pass(self, folder: Folder, deliverer: Deliverer) -> bool:
        """Fold once. Returns whether another transaction had the cursor."""
        try:
            done = folder.fold()
            if done.is_full or done.is_busy:
                # The other pass may have begun before the failure that woke this one.
                self._wake.set()
            if done.messages:
                deliverer.run_once()
        except DatabaseError as error:
            log.warning("alarm.postponed", reason=str(error))
        except Exception:
            # The loops of a beat continue without it.
            log.exception("alarm.failed")
        else:
            return done.is_busy
        return False
