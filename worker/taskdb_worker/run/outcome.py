"""The end of a run, and its write to the row: one verb for each end of a body.

Nothing here runs a body or waits. `Execution` repeats the writes.
"""

# Celery's classes have no types.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, Protocol, TypeVar

from celery.exceptions import Reject
from celery.exceptions import Retry as CeleryRetry
from pydantic import BaseModel

from taskdb import tracing
from taskdb.errors import InvalidInput, NotEncodable, PayloadMissing
from taskdb.model.entity import TaskError, TaskRole
from taskdb.model.fan_out import HandlerSpec
from taskdb.model.outcome import Cancel, Fail, Halt, Outcome, Report, Snooze
from taskdb.model.status import TaskStatus
from taskdb.store.contract import Claim
from taskdb.store.payload.payload import Payload
from taskdb.store.store import Store
from taskdb.types.task_type import TaskType
from taskdb_worker.run.error import is_a, no_such_end, task_error, traceback_text

T = TypeVar("T")
_Move = Callable[[str, str, TaskError, Report], TaskStatus | None]

_NOT_RETRYABLE = (InvalidInput, NotEncodable, PayloadMissing)
"""Errors that another attempt cannot avoid."""


_LONGEST_DELAY = timedelta(days=36_500)
_CELERYS_RETRIES = 3
"""The retries of Celery's own tasks by default."""


class RequestedRetry(CeleryRetry):
    """The exception that `current_task.retry()` raises in a body."""

    max_retries: int | None = None

    def attempts(self, of_type: int) -> int:
        """Return the number of attempts allowed in all, for a type with `of_type` attempts."""
        if self.max_retries is not None:
            return self.max_retries + 1
        return of_type if of_type > 1 else _CELERYS_RETRIES + 1


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a run: the row's new status (None: another run has the task) and the result.

    `error` is or stands for the body's exception; `delay` is the time until the next attempt, if
    any.
    """

    status: TaskStatus | None
    value: Any = None
    error: BaseException | None = None
    delay: timedelta = timedelta(0)


HANDED_OVER = Ended(TaskStatus.PROCESSING)
"""The body has created sub-tasks, which decide the end of its task."""


class RowWriter(Protocol):
    """Writes to a row for as long as that takes. `Execution` implements it."""

    store: Store
    max_crashes: int
    own_files: frozenset[str]

    def write_outcome(self, work: Callable[[], T], what: str, task_id: str) -> T: ...

    def claim_again(self, task_id: str, task_type: TaskType, lost: Claim, token: str) -> bool: ...

    def pack(self, value: Any, name: str, subject: str, task_id: str) -> Payload: ...

    def discard(self, reference: str | None) -> None: ...

    def handlers_of(self, task_type: TaskType) -> list[HandlerSpec]: ...


class RunOutcome:
    """Writes the end of one run, one verb each."""

    def __init__(
        self,
        execution: RowWriter,
        task_id: str,
        task_type: TaskType,
        claim: Claim,
        token: str,
        report: Callable[[], Report],
    ) -> None:
        self._execution = execution
        self._store = execution.store
        self._outcomes = self._store.outcomes
        self._id = task_id
        self._type = task_type
        self._claim = claim
        self._token = token
        self._report = report

    def returned(self, value: Any) -> Ended:
        if isinstance(value, Outcome):
            return self.said(value)
        plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        try:
            name = self._payload_name()
            payload = self._execution.pack(plain, name, "the result", self._id)
        except (NotEncodable, InvalidInput) as error:
            # Its message names the place. The frames are the worker's and would only hide that.
            stored = self._error(error, with_traceback=False)
            return Ended(self._write("fail", self._outcomes.fail, stored), error=error)
        status = self._complete(payload)
        if status not in {TaskStatus.COMPLETED, TaskStatus.FINISHED}:
            self._execution.discard(payload.reference)
        return Ended(status, plain)

    def awaits(self) -> Ended:
        """Wait for the callback, which may have come already."""
        report = self._report()
        handlers = self._handlers()
        status = self._end(
            "await_callback",
            lambda: self._store.callbacks.wait(self._id, self._token, report, handlers),
        )
        return Ended(status)

    def said(self, outcome: Outcome) -> Ended:
        if isinstance(outcome, Snooze):
            return self._snoozed(outcome)
        error = self._error(outcome, with_traceback=False)
        if isinstance(outcome, Halt):
            return Ended(self._write("halt", self._outcomes.halt, error), error=outcome)
        if isinstance(outcome, Cancel):
            return Ended(self._write("cancel", self._outcomes.cancel, error), error=outcome)
        if isinstance(outcome, Fail):
            return Ended(self._write("fail", self._outcomes.fail, error), error=outcome)
        return self.raised(outcome)

    def raised(self, error: BaseException) -> Ended:
        used = self._claim.attempts_used
        if is_a(error, _NOT_RETRYABLE) or not self._type.retry.wants(error, used):
            return self.failed(error)
        return self._again(error, self._type.retry.delay(used))

    def _again(self, error: BaseException, delay: timedelta) -> Ended:
        stored = self._error(error)
        report = self._report()
        status = self._end(
            "error", lambda: self._outcomes.error(self._id, self._token, stored, delay, report)
        )
        return Ended(status, error=error, delay=delay)

    def retried(self, error: CeleryRetry) -> Ended:
        """Write the end of a body that asked Celery for another attempt, if one is left.

        A call of `retry` may set its own limit. Otherwise the limit of the type holds.
        """
        used = self._claim.attempts_used
        limit = self._type.retry.max_attempts
        if isinstance(error, RequestedRetry):
            limit = error.attempts(limit)
        if used >= limit:
            last = error.exc if isinstance(error.exc, Exception) else error
            return self.failed(last, error)
        return self._again(error, _delay_of(error.when, self._type.retry.delay(used)))

    def failed(self, error: BaseException, cause: BaseException | None = None) -> Ended:
        return Ended(
            self._write("fail", self._outcomes.fail, self._error(error, cause)), error=error
        )

    def refused(self, error: Exception) -> Ended:
        """Fail a run whose outcome the row refuses for ever. Writes no report of the body."""
        stored = self._error(error, with_traceback=False)
        status = self._end("fail", lambda: self._outcomes.fail(self._id, self._token, stored))
        return Ended(status, error=error)

    def crashed(self, error: Exception, cause: BaseException) -> Ended:
        delay = self._type.retry.delay(1)
        stored = self._error(error, cause)
        status = self._end(
            "crash",
            lambda: self._outcomes.crash(
                self._id, self._token, stored, delay=delay, max_crashes=self._execution.max_crashes
            ),
        )
        return Ended(status, error=error, delay=delay)

    def rejected(self, error: Reject) -> Ended:
        if not error.requeue:
            return self.failed(no_such_end(error), error)
        return self.handed_back("rejected for requeue", error)

    def handed_back(self, reason: str, error: BaseException) -> Ended:
        status = self._end(
            "hand back", lambda: self._outcomes.hand_back(self._id, self._token, reason)
        )
        return Ended(status, error=error)

    def _snoozed(self, outcome: Snooze) -> Ended:
        report = self._report()
        status = self._end(
            "snooze", lambda: self._outcomes.snooze(self._id, self._token, outcome.delay, report)
        )
        return Ended(status, error=outcome, delay=outcome.delay)

    def _complete(self, payload: Payload) -> TaskStatus | None:
        report = self._report()
        handlers = self._handlers()
        if handlers:
            return self._end(
                "finish",
                lambda: self._store.endings.finish(
                    self._id, self._token, payload, report, handlers
                ),
            )
        parent_id = self._claim.parent_id
        if self._claim.role is TaskRole.STEP and parent_id is not None:
            return self._end(
                "complete",
                lambda: self._store.endings.complete_step(
                    self._id, self._token, payload, report, parent_id
                ),
            )
        return self._complete_alone(payload, report)

    def _handlers(self) -> list[HandlerSpec]:
        """Return the handlers of the type that follow its own body."""
        return self._execution.handlers_of(self._type)

    def _complete_alone(self, payload: Payload, report: Report) -> TaskStatus | None:
        """Write a result after which nothing else follows."""
        return self._end(
            "complete", lambda: self._outcomes.complete(self._id, self._token, payload, report)
        )

    def _write(self, verb: str, move: _Move, error: TaskError) -> TaskStatus | None:
        report = self._report()
        return self._end(verb, lambda: move(self._id, self._token, error, report))

    def _end(self, verb: str, work: Callable[[], TaskStatus | None]) -> TaskStatus | None:
        status = self._execution.write_outcome(work, verb, self._id)
        if status is None and self._execution.claim_again(
            self._id, self._type, self._claim, self._token
        ):
            status = self._execution.write_outcome(work, verb, self._id)
        return status

    def _payload_name(self) -> str:
        return f"{self._id}-result-{self._claim.attempt}"

    def _error(
        self,
        error: BaseException,
        cause: BaseException | None = None,
        *,
        with_traceback: bool = True,
    ) -> TaskError:
        shown = traceback_text(cause or error, self._execution.own_files) if with_traceback else ""
        stored = task_error(error, self._claim.attempt, shown)
        trace = tracing.carried()
        return stored if trace is None else replace(stored, trace=trace)


def _delay_of(when: Any, otherwise: timedelta) -> timedelta:
    """Return the delay of Celery's `countdown` or `eta`, or `otherwise` without one."""
    if isinstance(when, datetime):
        moment = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(moment - datetime.now(UTC), timedelta(0))
    if isinstance(when, int | float) and isfinite(when):
        return min(timedelta(seconds=max(when, 0)), _LONGEST_DELAY)
    return otherwise


Writing = Callable[..., RunOutcome]
"""Creates the writer of a run's end, from the arguments of `RunOutcome`."""
