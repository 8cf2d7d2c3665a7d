"""Writing to the row for as long as it takes: which errors are waited out, and how that is told.

That a body raised and that its outcome was not written are two things. An error of the database or
of the payload store says nothing about the body, so it is waited out here and never reaches what
ends an attempt. Only an error about the value itself does: it would be refused for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import TypeVar

from billiard.exceptions import SoftTimeLimitExceeded

from taskdb.errors import DatabaseError, DatabaseUnreachable, PayloadStoreUnreachable
from taskdb.logger import get_logger
from taskdb.store.engine import faults
from taskdb.store.engine.faults import Kind
from taskdb_worker.run.wait_notice import WaitNotice

log = get_logger("taskdb.run")

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_LONGEST_UNKNOWN_PAUSE_SECONDS = 30.0
"""Between two tries after an unknown error; each of them is logged in full."""
_NOTICE_SECONDS = 3.0
"""How much longer than the pause a notice stands: a try takes its time too."""
_LONGEST_GAP_SECONDS = 30.0
"""Between two lines of one process that say why it waits, however many of its threads do."""


def is_waited_out(error: BaseException) -> bool:
    """Whether an error says that something was not written, and nothing about what was."""
    if isinstance(error, DatabaseError | PayloadStoreUnreachable):
        return True
    return faults.kind_of(error) not in {None, Kind.VALUE}


class Patience:
    """Repeats writes of one process until they are answered. `renew` closes its connections."""

    def __init__(self, renew: Callable[[], None]) -> None:
        self._renew = renew
        self._told: dict[type[Exception], tuple[float, float]] = {}
        self.notice = WaitNotice()

    def write(
        self,
        work: Callable[[], T],
        what: str,
        task_id: str,
        *,
        deadline: Callable[[], float] = lambda: inf,
        unknown_seconds: float = inf,
    ) -> T:
        """Write to the row; asks again for as long as database or payload store cannot do it.

        Only the end of the process stops that, or the deadline (by the monotonic clock, looked at
        before each pause): then raises the error. An unknown error is waited out for
        `unknown_seconds` at most. A soft limit that strikes meanwhile is let pass: the body is
        over, or has not begun.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE_SECONDS
        while True:
            try:
                return work()
            except SoftTimeLimitExceeded:
                log.warning("soft_limit.write_repeated", task_id=task_id, verb=what)
                # It broke into a conversation with the database: that line cannot be used again.
                self._renew()
            except Exception as error:
                if not is_waited_out(error):
                    raise
                is_unknown = faults.kind_of(error) is Kind.UNKNOWN
                until = min(deadline(), began + unknown_seconds) if is_unknown else deadline()
                self.notice.put(f"{what}: {error}", pause + _NOTICE_SECONDS)
                self._tell(error, task_id, what, is_unknown=is_unknown)
                if time.monotonic() + pause > until:
                    raise
                _rest(pause)
                longest = _LONGEST_UNKNOWN_PAUSE_SECONDS if is_unknown else _LONGEST_PAUSE_SECONDS
                pause = min(pause * 2, longest)

    def ask(
        self,
        work: Callable[[], T],
        what: str,
        task_id: str,
        may_repeat: Callable[[], bool] = lambda: True,
    ) -> T:
        """The same for a body that runs, whose soft limit ends the waiting.

        Raises an unknown error, and any where the work may not be repeated.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return work()
            except Exception as error:
                is_known = faults.kind_of(error) is not Kind.UNKNOWN
                if not (is_known and is_waited_out(error) and may_repeat()):
                    raise
                self.notice.put(f"{what}: {error}", pause + _NOTICE_SECONDS)
                self._tell(error, task_id, what, is_unknown=False)
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _tell(self, error: Exception, task_id: str, what: str, *, is_unknown: bool) -> None:
        if is_unknown:
            log.error("write.retried", task_id=task_id, verb=what, exc_info=error)
            return
        kind = type(error)
        if not self._may_tell(kind):
            return
        reason = str(error)
        if issubclass(kind, PayloadStoreUnreachable):
            log.warning("payload_store.disconnected", task_id=task_id, verb=what, reason=reason)
        elif issubclass(kind, DatabaseUnreachable):
            log.warning("database.disconnected", task_id=task_id, verb=what, reason=reason)
        else:
            log.warning("database.write_refused", task_id=task_id, verb=what, reason=reason)

    def _may_tell(self, kind: type[Exception]) -> bool:
        """Whether it is time for another line about this kind; the time between two doubles."""
        now = time.monotonic()
        told_at, gap = self._told.get(kind, (-inf, 0.0))
        if now - told_at < gap:
            return False
        is_new = now - told_at > 2 * _LONGEST_GAP_SECONDS
        grown = _FIRST_PAUSE_SECONDS if is_new else gap * 2
        self._told[kind] = (now, min(grown, _LONGEST_GAP_SECONDS))
        return True


def _rest(pause: float) -> None:
    try:
        time.sleep(pause)
    except SoftTimeLimitExceeded:
        log.warning("soft_limit.deferred")
