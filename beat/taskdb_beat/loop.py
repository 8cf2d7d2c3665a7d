"""Loops: a pass again and again, each in its own thread, none stopped by an error of another."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import structlog

from taskdb.errors import BrokerUnreachable, DatabaseError

log = structlog.get_logger("taskdb.beat")

JITTER = 0.2
"""Share of the interval by which a pause varies, so that several beats do not march in step."""
_LONGEST_PAUSE_SECONDS = 5.0
"""An outage that is over should be noticed soon: a pass that fails costs a refused connection."""


class Loop:
    """Repeats one pass.

    `work` does a bounded amount and answers whether there is more to do at once. After an error
    the pauses grow, up to five seconds, until a pass succeeds. `until_next` answers how many
    seconds there are until there is something to do, where that may be sooner than the interval.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], bool],
        interval_seconds: float,
        until_next: Callable[[], float] | None = None,
    ) -> None:
        self.name = name
        self._work = work
        self._interval = interval_seconds
        self._until_next = until_next
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._errors = 0
        self._soonest: float | None = None
        self.last_success_at = float("-inf")

    def start(self) -> None:
        """Begin in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name=f"taskdb-{self.name}", daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End after the pass that runs, waiting so long at most."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            more = self.run_once()
            if not more:
                self._stop.wait(self._pause())

    def run_once(self) -> bool:
        """One pass; an error is logged and answers False."""
        try:
            more = self._work()
            self._soonest = self._until_next() if self._until_next and not more else None
        except (BrokerUnreachable, DatabaseError) as error:
            self._failed(str(error))
            return False
        except Exception:
            log.exception("loop.broken", loop=self.name)
            self._errors += 1
            return False
        if self._errors:
            log.info("loop.recovered", loop=self.name, failed_passes=self._errors)
        self._errors = 0
        self.last_success_at = time.monotonic()
        return more

    def _failed(self, reason: str) -> None:
        if self._errors == 0:
            log.warning("loop.failed", loop=self.name, reason=reason)
        self._errors += 1

    def _pause(self) -> float:
        if self._soonest is not None and not self._errors:
            return min(self._soonest, self._interval)
        grown = min(self._interval * 2.0 ** min(self._errors, 10), _LONGEST_PAUSE_SECONDS)
        # A loop with a long interval of its own is not hurried by its errors.
        base = max(grown, self._interval)
        # Spreading load needs no cryptographic randomness.
        return base * (1 + JITTER * (2 * random.random() - 1))  # noqa: S311
