"""One run of a body: claim, call, and the outcome in the row before anyone else hears of it.

It knows nothing of Celery's messages, so that a worker, `taskdb run-task` and tests run a body
alike. Who can tell why a run ended writes it: here that is everything but the death of this very
process, which the main process or rescue reports.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf
from typing import Any, TypeVar

import structlog
from billiard.common import terminate_handler_fired
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore, Reject, WorkerShutdown, WorkerTerminate
from pydantic import BaseModel

from taskdb import tracing
from taskdb.client import TaskDB
from taskdb.context import TaskContext
from taskdb.entity import TaskError, TaskRole
from taskdb.errors import (
    DatabaseUnreachable,
    InvalidInput,
    NotEncodable,
    PayloadMissing,
    PayloadStoreUnreachable,
    TaskNotFound,
)
from taskdb.fan_out import HandlerSpec
from taskdb.outcome import Cancel, Fail, Halt, Outcome, Snooze
from taskdb.status import TaskStatus
from taskdb.store.contract import Claim, Report
from taskdb.store.encode import storable
from taskdb.store.joining import PartsLeft
from taskdb.store.payload import Payload
from taskdb.surrounding import call_surrounded
from taskdb.task_type import TaskType
from taskdb_worker.hand_over import HandOver
from taskdb_worker.lease import Lease
from taskdb_worker.run import Run
from taskdb_worker.run_error import message_of, no_such_end, task_error, traceback_text
from taskdb_worker.run_span import run_span, tell_end

log = structlog.get_logger("taskdb.run")

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_NOT_RETRYABLE = (InvalidInput, NotEncodable, PayloadMissing)
"""What another attempt cannot mend."""
_OUR_FILES = frozenset({__file__, call_surrounded.__code__.co_filename})
"""Frames between a worker and the body, which say nothing to who reads its traceback."""


class TaskMemoryError(Exception):
    """A body ran out of memory. Not a MemoryError: that one would end the whole worker."""


class TaskExited(Exception):
    """A body called `sys.exit` (or raised KeyboardInterrupt)."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: the row's new status (None: another run has the task) and what to say.

    `error` is what the body raised, or stands for what it said; `delay` is the time until the
    next attempt, where one follows.
    """

    status: TaskStatus | None
    value: Any = None
    error: BaseException | None = None
    delay: timedelta = timedelta(0)


HANDED_OVER = Ended(TaskStatus.PROCESSING)
"""The body has made sub-tasks, and they have its task now."""


class Execution:
    """Runs bodies for one worker."""

    def __init__(self, taskdb: TaskDB, worker: str) -> None:
        self._taskdb = taskdb
        self.store = taskdb.store
        self._payloads = taskdb.payloads
        self._settings = taskdb.settings
        self.worker = worker
        self.lease = Lease(inf)
        self._hand_over = HandOver(taskdb)
        self.tell_of_failure: Callable[[], None] = _tell_nobody
        """Called in the main process when a run ended badly; returns at once."""

    def claim(self, task_id: str, task_type: TaskType, token: str) -> Claim:
        """Take the task; asks again for as long as the database gives no answer.

        A worker that may be taken for dead waits before it takes more.
        """
        self.lease.wait()
        return self.write(
            lambda: self.store.claim(
                task_id,
                token=token,
                worker=self.worker,
                max_attempts=task_type.retry.max_attempts,
                may_rerun=task_type.retry.after_crash,
            ),
            "claim",
            task_id,
        )

    def claim_again(self, task_id: str, task_type: TaskType, lost: Claim, token: str) -> bool:
        """Whether a claim that the row does not know any more could be made anew.

        A claim's commit does not wait for the disk: a database that died right after it has
        forgotten it. The attempt number tells that from a run whose task was taken away.
        """
        try:
            found = self.write(lambda: self.store.get(task_id), "read", task_id)
        except TaskNotFound:
            return False
        if found.attempt >= lost.attempt:
            return False
        log.warning("claim.forgotten", task_id=task_id, attempt=lost.attempt)
        anew = self.claim(task_id, task_type, token)
        return anew.granted and anew.attempt == lost.attempt

    def claim_chunk(self, chunk: str, task_type: TaskType, token: str, count: int) -> list[Claim]:
        """Take so many items of one message; asks again, and waits, as `claim` does."""
        self.lease.wait()
        return self.write(
            lambda: self.store.claim_chunk(
                chunk,
                token=token,
                worker=self.worker,
                max_attempts=task_type.retry.max_attempts,
                may_rerun=task_type.retry.after_crash,
                count=count,
            ),
            "claim",
            chunk,
        )

    def run(
        self,
        task_id: str,
        task_type: TaskType,
        claim: Claim,
        token: str,
        writing: Writing | None = None,
    ) -> Ended:
        """Run the body of a granted claim and write its outcome, by `writing` where that is given.

        Raises only what ends this process on purpose (a shutdown, a hard limit, a revocation).
        """
        if not tracing.is_wanted():
            return self._run(task_id, task_type, claim, token, writing)
        with run_span(task_id, task_type.name, claim) as one:
            ended = self._run(task_id, task_type, claim, token, writing)
            tell_end(one, ended.status, ended.error, self._settings.redaction)
            return ended

    def _run(  # noqa: PLR0911 - one branch for each way a body can end
        self,
        task_id: str,
        task_type: TaskType,
        claim: Claim,
        token: str,
        writing: Writing | None,
    ) -> Ended:
        run = Run(self._taskdb, task_id, task_type, claim, token)
        context = TaskContext(
            run,
            task_id=task_id,
            type=task_type.name,
            tenant=claim.tenant,
            attempt=claim.attempt,
            attempts_left=task_type.retry.max_attempts - (claim.attempt - claim.spared),
            attributes=dict(claim.attributes),
            parent_id=claim.parent_id,
            position=claim.position,
        )
        outcome = (writing or RunOutcome)(
            self, task_id, task_type, claim, token, lambda: run.unwritten(context.unwritten())
        )
        try:
            value = None if claim.is_called_back else self._call(task_type, context, claim)
            return self._returned(run, outcome, claim, value)
        except (WorkerShutdown, WorkerTerminate):
            raise
        except (SystemExit, KeyboardInterrupt) as error:
            # All of shutdown, hard limit and revocation look alike here; the main process knows.
            if terminate_handler_fired():
                raise
            return outcome.crashed(TaskExited(f"{type(error).__name__}: {error}"), error)
        except MemoryError as error:
            return outcome.crashed(TaskMemoryError(str(error) or "out of memory"), error)
        except Reject as error:
            return outcome.rejected(error)
        except Ignore as error:
            return outcome.failed(no_such_end(error), error)
        except Outcome as error:
            return outcome.said(error)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a body raises ends its attempt
            return self._raised(task_id, run, outcome, error)

    def _returned(self, run: Run, outcome: RunOutcome, claim: Claim, value: Any) -> Ended:
        if claim.is_called_back or (run.awaits_callback and not isinstance(value, Outcome)):
            return outcome.awaits()
        return HANDED_OVER if run.has_fanned_out else outcome.returned(value)

    def _raised(self, task_id: str, run: Run, outcome: RunOutcome, error: BaseException) -> Ended:
        """The end of a body that raised, unless it had handed over before."""
        if run.has_fanned_out:
            return self._raised_too_late(task_id, error, "its fan-out")
        if run.awaits_callback and self.write(
            lambda: self.store.is_called_back(task_id), "read", task_id
        ):
            self._raised_too_late(task_id, error, "its callback")
            return outcome.awaits()
        return outcome.raised(error)

    def _raised_too_late(self, task_id: str, error: BaseException, what: str) -> Ended:
        """Others decide now; what the body did after it had handed over is only remarked."""
        said = f"the body raised after {what}: {type(error).__name__}: {message_of(error)}"
        log.warning("body.raised_too_late", task_id=task_id, reason=said)
        self.write(
            lambda: self.store.remark(task_id, {"reason": storable(said, 500)}), "remark", task_id
        )
        return HANDED_OVER

    def part_ended(self, parent_id: str, *, badly: bool) -> PartsLeft:
        """A part is over: what its parent still waits for."""
        return self.write(lambda: self.store.part_ended(parent_id, badly=badly), "join", parent_id)

    def hold(self, task_id: str, *, chunk: bool = False) -> int:
        """Put back what a rule stops; answers how many tasks."""
        return self.write(lambda: self.store.hold(task_id, chunk=chunk), "hold", task_id)

    def let_next_go(self, claim: Claim) -> None:
        """The run of a gated task is over: who waits for its slots may go. Never waits."""
        if claim.is_gated:
            self._hand_over.wake(claim.lines)

    def join(self, parent_id: str) -> None:
        """A sub-task is over: let its parent act on that."""
        self.write(lambda: self.store.join(parent_id), "join", parent_id)

    def _call(self, task_type: TaskType, context: TaskContext, claim: Claim) -> Any:
        value = self._unpack(claim.input, claim.input_ref, claim.id)
        surroundings = self._taskdb.surroundings
        if not surroundings:
            return _answer(task_type, context, value)
        return call_surrounded(surroundings, context, lambda: _answer(task_type, context, value))

    def handler(self, task_type: TaskType) -> HandlerSpec:
        """Another handler of a type, as a row keeps it."""
        queue = task_type.queue or self._settings.default_queue
        return HandlerSpec(task_type.name, queue, task_type.priority, task_type.mutex)

    def stored_result(self, claim: Claim) -> Any:
        """The result of a task that has completed already."""
        return self._unpack(claim.result, claim.result_ref, claim.id)

    def _unpack(self, inline: Any, reference: str | None, task_id: str) -> Any:
        """A payload, as soon as its store answers; raises PayloadMissing."""
        if reference is None:
            return inline
        return self.write(lambda: self._payloads.read(reference), "read payload", task_id)

    def pack(self, value: Any, name: str, subject: str, task_id: str) -> Payload:
        """A result on its way to the row, as soon as the payload store has it."""
        return self.write(
            lambda: self._payloads.pack(value, name, subject), "write payload", task_id
        )

    def write(
        self,
        work: Callable[[], T],
        what: str,
        task_id: str,
        deadline: Callable[[], float] = lambda: inf,
    ) -> T:
        """Write to the row; asks again for as long as database or payload store give no answer.

        Only the end of the process stops that, or the deadline (by the monotonic clock, looked at
        before each pause): then raises DatabaseUnreachable or PayloadStoreUnreachable. A soft limit
        that strikes meanwhile is let pass: the body is over, or has not begun.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return work()
            except SoftTimeLimitExceeded:
                log.warning("soft_limit.while_writing", task_id=task_id, verb=what)
                # It broke into a conversation with the database: that line cannot be used again.
                self.store.close()
            except (DatabaseUnreachable, PayloadStoreUnreachable) as error:
                _tell_away(error, task_id, what)
                if time.monotonic() + pause > deadline():
                    raise
                pause = _rest(pause)


class RunOutcome:
    """Writes the end of one run, one verb each."""

    def __init__(
        self,
        execution: Execution,
        task_id: str,
        task_type: TaskType,
        claim: Claim,
        token: str,
        report: Callable[[], Report],
    ) -> None:
        self._execution = execution
        self._store = execution.store
        self._payloads = execution._payloads  # noqa: SLF001 - two halves of one thing
        self._max_crashes = execution._settings.max_crashes  # noqa: SLF001 - two halves of one thing
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
            # Its message names the place; the frames are ours and would only hide that.
            stored = self._error(error, with_traceback=False)
            return Ended(self._write("fail", stored), error=error)
        status = self._complete(payload)
        if status not in {TaskStatus.COMPLETED, TaskStatus.FINISHED}:
            self._payloads.discard(payload.reference)
        return Ended(status, plain)

    def awaits(self) -> Ended:
        """The outside ends the task, or has done so already."""
        report = self._report()
        handlers = self._handlers()
        status = self._end(
            "await_callback",
            lambda: self._store.await_callback(self._id, self._token, report, handlers),
        )
        return Ended(status)

    def said(self, outcome: Outcome) -> Ended:
        if isinstance(outcome, Snooze):
            return self._snoozed(outcome)
        error = self._error(outcome, with_traceback=False)
        if isinstance(outcome, Halt):
            return Ended(self._write("halt", error), error=outcome)
        if isinstance(outcome, Cancel):
            return Ended(self._write("cancel_own", error), error=outcome)
        if isinstance(outcome, Fail):
            return Ended(self._write("fail", error), error=outcome)
        return self.raised(outcome)

    def raised(self, error: BaseException) -> Ended:
        used = self._claim.attempt - self._claim.spared
        if isinstance(error, _NOT_RETRYABLE) or not self._type.retry.wants(error, used):
            return self.failed(error)
        delay = self._type.retry.delay(used)
        stored = self._error(error)
        report = self._report()
        status = self._end(
            "error", lambda: self._store.error(self._id, self._token, stored, delay, report)
        )
        return Ended(status, error=error, delay=delay)

    def failed(self, error: BaseException, cause: BaseException | None = None) -> Ended:
        return Ended(self._write("fail", self._error(error, cause)), error=error)

    def crashed(self, error: Exception, cause: BaseException) -> Ended:
        delay = self._type.retry.delay(1)
        stored = self._error(error, cause)
        status = self._end(
            "crash",
            lambda: self._store.crash(
                self._id, self._token, stored, delay=delay, max_crashes=self._max_crashes
            ),
        )
        return Ended(status, error=error, delay=delay)

    def rejected(self, error: Reject) -> Ended:
        if not error.requeue:
            return self.failed(no_such_end(error), error)
        return self.handed_back("rejected for requeue", error)

    def handed_back(self, reason: str, error: BaseException) -> Ended:
        status = self._end(
            "hand back", lambda: self._store.hand_back(self._id, self._token, reason)
        )
        return Ended(status, error=error)

    def _snoozed(self, outcome: Snooze) -> Ended:
        report = self._report()
        status = self._end(
            "snooze", lambda: self._store.snooze(self._id, self._token, outcome.delay, report)
        )
        return Ended(status, error=outcome, delay=outcome.delay)

    def _complete(self, payload: Payload) -> TaskStatus | None:
        report = self._report()
        handlers = self._handlers()
        if handlers:
            return self._end(
                "finish",
                lambda: self._store.finish(self._id, self._token, payload, report, handlers),
            )
        parent_id = self._claim.parent_id
        if self._claim.role is TaskRole.STEP and parent_id is not None:
            return self._end(
                "complete",
                lambda: self._store.complete_step(
                    self._id, self._token, payload, report, parent_id
                ),
            )
        return self._complete_alone(payload, report)

    def _handlers(self) -> list[HandlerSpec]:
        """Those of the type beside its own body, which follow it."""
        known = self._execution._taskdb.registry.handlers_of(self._type.name)  # noqa: SLF001 - two halves of one thing
        return [self._execution.handler(one) for one in known]

    def _complete_alone(self, payload: Payload, report: Report) -> TaskStatus | None:
        """Write a result that nothing else follows from."""
        return self._end(
            "complete", lambda: self._store.complete(self._id, self._token, payload, report)
        )

    def _write(self, verb: str, error: TaskError) -> TaskStatus | None:
        move = getattr(self._store, verb)
        report = self._report()
        return self._end(verb, lambda: move(self._id, self._token, error, report))

    def _end(self, verb: str, work: Callable[[], TaskStatus | None]) -> TaskStatus | None:
        status = self._execution.write(work, verb, self._id)
        if status is None and self._execution.claim_again(
            self._id, self._type, self._claim, self._token
        ):
            status = self._execution.write(work, verb, self._id)
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
        shown = traceback_text(cause or error, _OUR_FILES) if with_traceback else ""
        stored = task_error(error, self._claim.attempt, shown)
        trace = tracing.carried()
        return stored if trace is None else replace(stored, trace=trace)


def _answer(task_type: TaskType, context: TaskContext, value: Any) -> Any:
    answer = task_type.call(context, value)
    return asyncio.run(answer) if asyncio.iscoroutine(answer) else answer


def _tell_nobody() -> None:
    """Without a worker around it, nobody is woken."""


Writing = Callable[..., RunOutcome]
"""Makes what writes the end of a run, from the arguments of `RunOutcome`."""


def _tell_away(error: Exception, task_id: str, verb: str) -> None:
    if isinstance(error, PayloadStoreUnreachable):
        log.warning("payload_store.away", task_id=task_id, verb=verb, reason=str(error))
    else:
        log.warning("database.away", task_id=task_id, verb=verb, reason=str(error))


def _rest(pause: float) -> float:
    try:
        time.sleep(pause)
    except SoftTimeLimitExceeded:
        log.warning("soft_limit.while_waiting")
    return min(pause * 2, _LONGEST_PAUSE_SECONDS)
