"""A bounded buffer of reports that a thread of its own writes.

A receiver only appends. The thread writes the waiting reports in one transaction, then rests in
proportion to the time that took: a busy process spends little time here, and an idle one writes at
once. While the database is not reachable, the pauses grow. Above the bound the oldest reports are
dropped: each later report of a task contains the earlier ones.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from taskdb.errors import DatabaseError
from taskdb.fork import renew_after_fork
from taskdb.model.adopted import AdoptedReport
from taskdb_worker.adopted.log import log

LIMIT = 5_000
"""The most reports that wait."""
_BATCH = 500
_REST_SHARE = 4
"""The rest after a write, as a multiple of its time. Reports that come meanwhile share the next
one."""
_LONGEST_REST_SECONDS = 0.1
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0
_SAY_SECONDS = 10.0
"""The same problem is logged once in this time."""

Write = Callable[[Sequence[AdoptedReport]], object]
Refused = Callable[[AdoptedReport, Exception], object]


class ReportBuffer:
    """The waiting reports of one process. A forked child starts with none."""

    def __init__(
        self,
        write: Write,
        close: Callable[[], None],
        *,
        limit: int = LIMIT,
        refused: Refused | None = None,
    ) -> None:
        """`refused` is called for each report that can never be written."""
        self._refused = refused
        self._write = write
        self._close = close
        self._limit = limit
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start empty: the parent process writes its own waiting reports."""
        self._waiting: deque[AdoptedReport] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None
        self._is_open = True
        self._pause = 0.0
        """The seconds until the next try, after the database was not reachable; else 0."""
        self._rest = 0.0
        self._said_at = -_SAY_SECONDS
        self.dropped = 0
        """Reports dropped because the buffer was full or they could not be written."""

    def note(self, report: AdoptedReport) -> None:
        """Keep a report. Never waits, never raises."""
        if not self._is_open:
            return
        self._waiting.append(report)
        self._idle.clear()
        if len(self._waiting) > self._limit:
            self._forget_oldest()
        if self._thread is None:
            self._start()
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, seconds: float) -> bool:
        """Write the waiting reports within this many seconds. Returns whether all are written.

        Does not wait for a database that was unavailable a moment ago.
        """
        if self._thread is None or self._pause:
            return not self._waiting
        self._hurry.set()
        self._wake.set()
        try:
            return self._idle.wait(seconds)
        finally:
            self._hurry.clear()

    def close(self, seconds: float) -> None:
        """Write the waiting reports, end the thread and close its connections."""
        self.flush(seconds)
        self._is_open = False
        self._hurry.set()
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(seconds)
        self._forget(len(self._waiting))
        self._waiting.clear()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or not self._is_open:
                return
            thread = threading.Thread(target=self._work, name="taskdb-adopt", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The interpreter is about to end.
                return
            self._thread = thread

    def _work(self) -> None:
        while self._is_open:
            self._wake.wait()
            self._wake.clear()
            while self._waiting and self._write_some():
                # A thread with a full batch left does not rest.
                self._hurry.wait(0 if len(self._waiting) >= _BATCH else self._rest)
            if not self._waiting:
                self._idle.set()
            self._hurry.wait(self._pause)
        self._close()

    def _write_some(self) -> bool:
        """Write a batch. Returns whether to continue at once."""
        batch = self._taken()
        began = time.monotonic()
        try:
            self._write(batch)
        except DatabaseError as error:
            self._put_back(batch)
            self._pause = min(self._pause * 2 or _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
            self._say_late(error)
            self._wake.set()
            return False
        except Exception:  # noqa: BLE001 - one that cannot be written must not keep the others
            self._write_each(batch)
        self._pause = 0.0
        self._rest = min((time.monotonic() - began) * _REST_SHARE, _LONGEST_REST_SECONDS)
        return True

    def _write_each(self, batch: Sequence[AdoptedReport]) -> None:
        for position, one in enumerate(batch):
            try:
                self._write([one])
            except DatabaseError:
                self._put_back(batch[position:])
                return
            except Exception as error:  # noqa: BLE001 - arguments of a task may raise anything
                self.dropped += 1
                reason = f"{type(error).__name__}: {error}"[:500]
                log.warning(
                    "adopted_report.refused", task_id=one.id, kind=one.kind.value, reason=reason
                )
                self._tell(one, error)

    def _tell(self, one: AdoptedReport, error: Exception) -> None:
        if self._refused is None:
            return
        try:
            self._refused(one, error)
        except DatabaseError as away:
            # The log has the refusal already.
            log.debug("adopted_refusal.lost", task_id=one.id, reason=str(away))

    def _taken(self) -> list[AdoptedReport]:
        batch: list[AdoptedReport] = []
        while len(batch) < _BATCH:
            try:
                batch.append(self._waiting.popleft())
            except IndexError:
                break
        return batch

    def _put_back(self, batch: Sequence[AdoptedReport]) -> None:
        self._waiting.extendleft(reversed(batch))

    def _forget_oldest(self) -> None:
        try:
            self._waiting.popleft()
        except IndexError:
            return
        self._forget(1)

    def _forget(self, count: int) -> None:
        if not count:
            return
        self.dropped += count
        if self._may_say():
            log.warning("adopted_report.dropped", count=self.dropped)

    def _say_late(self, error: DatabaseError) -> None:
        if self._may_say():
            waiting = len(self._waiting)
            log.warning(
                "adopted_report.delayed", waiting=waiting, dropped=self.dropped, reason=str(error)
            )

    def _may_say(self) -> bool:
        now = time.monotonic()
        if now - self._said_at < _SAY_SECONDS:
            return False
        self._said_at = now
        return True
