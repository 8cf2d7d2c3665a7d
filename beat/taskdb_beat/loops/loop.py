"""A loop repeats one pass in its own thread. An error of one loop stops no other."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from taskdb.errors import BrokerUnreachable, DatabaseError, PayloadStoreUnreachable
from taskdb.logger import get_logger

log = get_logger("taskdb.beat")

JITTER = 0.2
"""The share of the interval by which a pause varies, so that several beats do not run in step."""
PASS_SECONDS = 30.0
"""A pass that takes longer is logged."""
BUSY_SECONDS = 60.0
"""Passes with more work follow each other at once for this long, and then pause once."""
_LONGEST_PAUSE_SECONDS = 5.0
"""The longest pause: a failed pass costs only a refused connection."""


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a loop. Moments are those of `time.monotonic`; None: not yet."""

    last_success_at: float | None = None
    errors_in_row: int = 0
    last_pass_seconds: float | None = None
    is_site_away: bool = False
    """Whether the last pass failed because a server was not reachable. A restart would not help."""


class Loop:
    """Repeats one pass.

    `work` does a bounded amount and returns whether there is more to do at once. A pass cannot be
    interrupted; one longer than `time_limit_seconds` is logged. After `busy_seconds` of passes with
    more work, the loop pauses once, for five seconds at most. After an error the pauses grow, up to
    five seconds, until a pass succeeds. `until_next` returns the seconds until there is work, if
    that may be sooner than the interval. `close` is called once after the last pass.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], bool],
        interval_seconds: float,
        until_next: Callable[[], float] | None = None,
        *,
        time_limit_seconds: float = PASS_SECONDS,
        busy_seconds: float = BUSY_SECONDS,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.interval_seconds = interval_seconds
        self.health = Health()
        """Replaced as a whole by each pass, so any thread may read it."""
        self._work = work
        self._until_next = until_next
        self._soonest: float | None = None
        self._time_limit = time_limit_seconds
        self._busy_seconds = busy_seconds
        self._close = close
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name=f"taskdb-{self.name}", daemon=True)
        self._thread.start()

    def let_end(self) -> None:
        """Begin no further pass. Does not wait."""
        self._stop.set()

    def stop(self, seconds: float) -> None:
        """End after the current pass. Waits this many seconds at most."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(seconds)
        if self._close is not None:
            self._close()

    def _run(self) -> None:
        busy_since = time.monotonic()
        while not self._stop.is_set():
            more = self.run_once()
            is_breathless = time.monotonic() - busy_since >= self._busy_seconds
            if more and not is_breathless:
                continue
            pause = self._pause()
            self._stop.wait(min(pause, _LONGEST_PAUSE_SECONDS) if more else pause)
            busy_since = time.monotonic()

    def run_once(self) -> bool:
        """Run one pass. Returns whether there is more; logs an error and returns False."""
        began = time.monotonic()
        try:
            more = self._work()
            self._soonest = self._until_next() if self._until_next and not more else None
        except (BrokerUnreachable, DatabaseError, PayloadStoreUnreachable) as error:
            if self.health.errors_in_row == 0:
                log.warning("loop.failed", loop=self.name, reason=str(error))
            self._note(began, is_error=True, is_site_away=True)
            return False
        except Exception:
            log.exception("loop.crashed", loop=self.name)
            self._note(began, is_error=True)
            return False
        if self.health.errors_in_row:
            log.info("loop.recovered", loop=self.name, failed_passes=self.health.errors_in_row)
        self._note(began, is_error=False)
        return more

    def _note(self, began: float, *, is_error: bool, is_site_away: bool = False) -> None:
        now = time.monotonic()
        before = self.health
        self.health = Health(
            last_success_at=before.last_success_at if is_error else now,
            errors_in_row=before.errors_in_row + 1 if is_error else 0,
            last_pass_seconds=now - began,
            is_site_away=is_site_away,
        )
        if now - began > self._time_limit:
            log.warning("loop.overrun", loop=self.name, seconds=round(now - began, 3))

    def pause_seconds(self) -> float:
        """Return the seconds to wait after a pass that found no more work, or failed."""
        return self._pause()

    def _pause(self) -> float:
        errors = self.health.errors_in_row
        if self._soonest is not None and not errors:
            return min(self._soonest, self.interval_seconds)
        grown = min(self.interval_seconds * 2.0 ** min(errors, 10), _LONGEST_PAUSE_SECONDS)
        # Errors do not shorten the long interval of a loop.
        base = max(grown, self.interval_seconds)
        # Spreading load needs no cryptographic randomness.
        return base * (1 + JITTER * (2 * random.random() - 1))  # noqa: S311
