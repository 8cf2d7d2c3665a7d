"""Whether what this process stands on answers: asked in a bounded time, and not too often."""

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
"""It is away when it has not answered by then."""
_KEPT_SECONDS = 2.0
"""An answer counts for so long."""

Ask = Callable[[], str | None]
"""Answers what is wrong, or None; may raise, and may hang."""


class Probe:
    """One question. At most one thread asks it, however many want to know and however it hangs."""

    def __init__(self, ask: Ask, seconds: float = ANSWER_SECONDS) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = RenewedLock()
        self._flight: Future[str | None] | None = None
        self._answer: str | None = None
        self._answered_at = float("-inf")

    def wrong(self) -> str | None:
        """What is wrong, or None, within the time that it has."""
        with self._lock:
            if time.monotonic() - self._answered_at < _KEPT_SECONDS:
                return self._answer
            flight = self._flight or self._start()
        try:
            return flight.result(timeout=self._seconds)
        except FutureTimeout:
            return self._note(f"no answer within {self._seconds:g} s")

    def is_up_lately(self) -> bool | None:
        """The last answer, at once, or None; an old one is asked for anew, for the next time."""
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
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            answer = f"{type(error).__name__}: {error}"
        with self._lock:
            self._flight = None
        flight.set_result(self._note(answer))

    def _note(self, answer: str | None) -> str | None:
        with self._lock:
            self._answer, self._answered_at = answer, time.monotonic()
        return answer


def probes(taskdb: TaskDB) -> Mapping[str, Probe]:
    """The questions, by what they are about."""
    settings, database = taskdb.settings, taskdb.store.database

    def ask_database() -> None:
        database.read(revision.check)

    def ask_broker() -> str | None:
        return broker_state(settings, settings.default_queue).away

    return {
        "database": Probe(ask_database),
        # It keeps its own time, and its answer says more than ours.
        "broker": Probe(ask_broker, BROKER_SECONDS + 1),
        "payloads": Probe(taskdb.store.payloads.check),
    }
