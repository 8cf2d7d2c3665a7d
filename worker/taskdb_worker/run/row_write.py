"""Repeated writes to the row: the errors that are waited out, and how the wait is logged.

A body that raised and an outcome that was not written are two different failures. An error of the
database or of the payload store concerns no body. It is waited out here, and never ends an attempt.
Only an error about the value itself does: the value would be refused for ever.
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
"""The longest pause between two tries after an unknown error. Each error is logged in full."""
_NOTICE_SECONDS = 3.0
"""A notice lasts this much longer than the pause, since a try takes time too."""
_LONGEST_GAP_SECONDS = 30.0
"""The longest time between two logs of one process about a wait, for all its threads together."""


def is_waited_out(error: BaseException) -> bool:
    """Whether the error means that a value was not written, and is not about the value itself."""
    if isinstance(error, DatabaseError | PayloadStoreUnreachable):
        return True
    return faults.kind_of(error) not in {None, Kind.VALUE}


class RowWrites:
    """Repeats writes of one process until they succeed. `renew` closes its connections."""

    def __init__(self, renew: Callable[[], None]) -> None:
        self._renew = renew
        self._logged: dict[type[Exception], tuple[float, float]] = {}
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
        """Write to the row, and repeat while the database or the payload store cannot.

        Raises the error at the deadline (monotonic clock, checked before each pause). Otherwise
        only the end of the process stops it. An unknown error is waited out for `unknown_seconds`
        at most. A soft limit in the meantime is ignored: the body is over, or has not begun.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE_SECONDS
        while True:
            try:
                return work()
            except SoftTimeLimitExceeded:
                log.warning("soft_limit.write_repeated", task_id=task_id, verb=what)
                # The limit interrupted a statement, so the connection cannot be used again.
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
        """Repeat like `write`, for a running body. The soft limit of the body ends the wait.

        Raises an unknown error, and any error where the work may not be repeated.
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
        """Whether another log about this kind of error is due. The time in between doubles."""
        now = time.monotonic()
        logged_at, gap = self._logged.get(kind, (-inf, 0.0))
        if now - logged_at < gap:
            return False
        is_new = now - logged_at > 2 * _LONGEST_GAP_SECONDS
        grown = _FIRST_PAUSE_SECONDS if is_new else gap * 2
        self._logged[kind] = (now, min(grown, _LONGEST_GAP_SECONDS))
        return True


def _rest(pause: float) -> None:
    try:
        time.sleep(pause)
    except SoftTimeLimitExceeded:
        log.warning("soft_limit.deferred")
