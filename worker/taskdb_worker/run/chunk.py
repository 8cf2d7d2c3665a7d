"""The items of one message, run one after another: each with its own attempt and outcome.

Results are kept for a moment and written together. A thread writes twice a second, also while a
long body runs: no result waits, the parent learns of failed items, and an item that is canceled
before its turn ends early enough that its process need not be ended. If the process dies, the kept
results are lost and their items run again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded

from taskdb.logger import get_logger
from taskdb.model.outcome import NO_REPORT, Cancel, Report
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Claim
from taskdb.store.payload.payload import Payload
from taskdb.store.store import Store
from taskdb.types.task_type import TaskType
from taskdb_worker.run.error import task_error
from taskdb_worker.run.execution import Execution
from taskdb_worker.run.outcome import Ended, RunOutcome
from taskdb_worker.run.row_write import is_waited_out

log = get_logger("taskdb.chunk")

KEPT_SECONDS = 0.5
KEPT_ITEMS = 100
KEPT_CHARACTERS = 1_000_000
"""Results are written after this time, this number or this size, whichever comes first."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A result that waits for its write, and how to write it alone where it was not accepted."""

    payload: Payload
    write_alone: Callable[[], None]


class Chunk:
    """The run of one message's items, by the claims of one delivery."""

    def __init__(
        self,
        execution: Execution,
        task_type: TaskType,
        claims: Sequence[Claim],
        token: str,
        soft_limit: float | None,
    ) -> None:
        self._execution = execution
        self._store: Store = execution.store
        self._type = task_type
        self._claims = claims
        self._token = token
        self._soft_limit = soft_limit
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._begun: set[str] = set()
        self._stopped: set[str] = set()
        self._kept: dict[str, _Kept] = {}
        self._characters = 0
        self._bad: list[str] = []
        self._bad_reported = 0
        self._begun_at = 0.0

    def run(self) -> None:
        """Run every item. On return all outcomes are in the rows."""
        watch = threading.Thread(target=self._watch, name="taskdb-chunk", daemon=True)
        watch.start()
        try:
            for claim in self._claims:
                if self._may_begin(claim):
                    self._run(claim)
            self._look()
        finally:
            # Nothing waits for the thread: it finds no more work.
            self._over.set()

    def keep(self, task_id: str, kept: _Kept) -> None:
        """Keep a result, to be written soon."""
        self._characters += len(kept.payload.text or "")
        self._kept[task_id] = kept

    def is_early(self) -> bool:
        """Whether the running item is within its own soft limit. Celery limits the message."""
        return self._soft_limit is not None and (
            time.monotonic() - self._begun_at < self._soft_limit
        )

    # --- one item -----------------------------------------------------------------------------

    def _may_begin(self, claim: Claim) -> bool:
        def begin() -> bool:
            with self._lock:
                self._begun.add(claim.id)
                return claim.id not in self._stopped

        return self._execution.write(begin, "begin", claim.id)

    def _run(self, claim: Claim) -> None:
        self._begun_at = time.monotonic()
        writing = partial(_ItemOutcome, self)
        ended = self._execution.run(claim.id, self._type, claim, self._token, writing)
        if ended.status is None:
            _not_accepted(claim.id)
        elif ended.status.is_terminal and ended.status is not TaskStatus.COMPLETED:
            self._bad.append(claim.id)
            self._look()
        elif len(self._kept) >= KEPT_ITEMS or self._characters >= KEPT_CHARACTERS:
            self._characters = 0
            self._look()

    # --- looking ------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._over.wait(KEPT_SECONDS):
            try:
                self._look()
            except Exception:
                # The run itself meets the same error at its end, and raises it.
                log.exception("chunk.write_failed")

    def _look(self) -> None:
        self._execution.write_outcome(self._look_once, "complete", self._claims[0].id)

    def _look_once(self) -> None:
        with self._lock:
            self._write_kept()
            self._tell_parent()
            self._stop_unwanted()

    def _write_kept(self) -> None:
        kept = dict(self._kept)
        if not kept:
            return
        results = {task_id: one.payload for task_id, one in kept.items()}
        accepted = self._completed(results)
        for task_id, one in kept.items():
            if task_id not in accepted:
                one.write_alone()
            del self._kept[task_id]

    def _completed(self, results: dict[str, Payload]) -> set[str]:
        try:
            return self._store.outcomes.complete_many(self._token, results)
        except Exception as error:
            if is_waited_out(error):
                raise
            # One of them fails the statement for all, so each is written alone.
            return set()

    def refuse(self, task_id: str) -> None:
        """Count an item as failed: its row refused its kept result."""
        self._bad.append(task_id)

    def _tell_parent(self) -> None:
        bad, parent_id = len(self._bad), self._claims[0].parent_id
        if bad > self._bad_reported and parent_id is not None:
            self._store.joins.part_ended(parent_id, badly=True)
            self._bad_reported = bad

    def _stop_unwanted(self) -> None:
        waiting = {
            claim.id: claim
            for claim in self._claims
            if claim.id not in self._begun and claim.id not in self._stopped
        }
        if waiting:
            for task_id in self._store.runs.cancel_wanted_among(list(waiting), self._token):
                self._stop(waiting[task_id])

    def _stop(self, claim: Claim) -> None:
        error = task_error(Cancel("a cancel was asked for before its turn came"), claim.attempt)
        status = self._store.outcomes.cancel(claim.id, self._token, error)
        if status is not None:
            self._bad.append(claim.id)
        elif self._execution.claim_again(claim.id, self._type, claim, self._token):
            return
        else:
            _not_accepted(claim.id)
        self._stopped.add(claim.id)


class _ItemOutcome(RunOutcome):
    """Writes the end of an item. A plain result is kept for a moment."""

    def __init__(self, chunk: Chunk, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._chunk = chunk

    def raised(self, error: BaseException) -> Ended:
        if not isinstance(error, SoftTimeLimitExceeded) or not self._chunk.is_early():
            return super().raised(error)
        # Earlier items have used up the time of the message.
        return self.handed_back("the time of its chunk was up", error)

    def _complete_alone(self, payload: Payload, report: Report) -> TaskStatus | None:
        if report != NO_REPORT:
            return super()._complete_alone(payload, report)
        self._chunk.keep(self._id, _Kept(payload, lambda: self._after_all(payload)))
        return TaskStatus.COMPLETED

    def _after_all(self, payload: Payload) -> None:
        try:
            status = super()._complete_alone(payload, NO_REPORT)
        except Exception as error:
            if is_waited_out(error):
                raise
            log.exception("outcome.refused", task_id=self._id)
            if self.refused(error).status is TaskStatus.FAILED:
                self._chunk.refuse(self._id)
                return
            status = None
        if status is not TaskStatus.COMPLETED:
            self._execution.discard(payload.reference)
            _not_accepted(self._id)


def _not_accepted(task_id: str) -> None:
    log.warning("outcome.rejected", task_id=task_id)
