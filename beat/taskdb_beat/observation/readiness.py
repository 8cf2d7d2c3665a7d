"""Checks whether the servers that this process needs are reachable: bounded in time and rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from taskdb.celery.broker_state import BROKER_SECONDS, broker_state
from taskdb.client.taskdb import TaskDB
from taskdb.fork import RenewedLock
from taskdb.store.engine.migrations import revision

ANSWER_SECONDS = 3.0
"""A check without a result by then means: not reachable."""
_KEPT_SECONDS = 2.0
"""A result is kept for this long."""

Ask = Callable[[], str | None]
"""Returns the problem, or None. May raise, and may hang."""


class Probe:
    """One check. At most one thread runs it, for any number of callers, even if it hangs."""

    def __init__(self, ask: Ask, seconds: float = ANSWER_SECONDS) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = RenewedLock()
        self._flight: Future[str | None] | None = None
        self._answer: str | None = None
        self._answered_at = float("-inf")

    def wrong(self) -> str | None:
        """Return the problem, or None, within the time of the check."""
        with self._lock:
            if time.monotonic() - self._answered_at < _KEPT_SECONDS:
                return self._answer
            flight = self._flight or self._start()
        try:
            return flight.result(timeout=self._seconds)
        except FutureTimeout:
            return self._note(f"no answer within {self._seconds:g} s")

    def is_up_lately(self) -> bool | None:
        """Return the last result at once, or None. Starts a new check if the result is old."""
        with self._lock:
            if time.monotonic() - self._answered_at >= _KEPT_SECONDS and self._flight is None:
                self._start()
            return None if self._answered_at == float("-inf") else self._answer is None

    def _start(self) -> Future[str | None]:
        flight: Future[str | None] = Future()
        self._flight = flight
        threading.Thread(target=self._fly, args=(flight,), name="taskdb-probe", daemon=True).start()
        return flight

    def _fly(self, flight: Future[str | None]) -> None:
        try:
            answer = self._ask()
        except Exception as error:  # noqa: BLE001 - any error is the result
            answer = f"{type(error).__name__}: {error}"
        with self._lock:
            self._flight = None
        flight.set_result(self._note(answer))

    def _note(self, answer: str | None) -> str | None:
        with self._lock:
            self._answer, self._answered_at = answer, time.monotonic()
        return answer


def probes(taskdb: TaskDB) -> Mapping[str, Probe]:
    """Return the checks, by subject."""
    settings, database = taskdb.settings, taskdb.store.database

    def ask_database() -> None:
        database.read(revision.check)

    def ask_broker() -> str | None:
        return broker_state(settings, settings.default_queue).away

    return {
        "database": Probe(ask_database),
        # It has a time limit of its own, and a more detailed result.
        "broker": Probe(ask_broker, BROKER_SECONDS + 1),
        "payloads": Probe(taskdb.store.payloads.check),
    }
