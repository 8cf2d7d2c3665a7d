"""One run of a body: claim, call, and the outcome in the row before any report of it.

It does not depend on Celery's messages, so that a worker, `taskdb run-task` and tests run a body
alike. It writes every end of a run except the death of its own process, which the main process or
rescue reports.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, TypeVar

from billiard.common import terminate_handler_fired
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore, Reject, Retry, WorkerShutdown, WorkerTerminate
from celery.platforms import EX_FAILURE

from taskdb import tracing
from taskdb.client.taskdb import TaskDB
from taskdb.errors import PayloadMissing, PayloadStoreUnreachable, TaskNotFound
from taskdb.logger import get_logger
from taskdb.model.entity import TaskError
from taskdb.model.fan_out import HandlerSpec
from taskdb.model.json_text import Unreadable, storable
from taskdb.model.outcome import Fail, Outcome
from taskdb.store.contract import EVERYONE, Claim
from taskdb.store.payload.payload import Payload
from taskdb.store.tree.join import PartsLeft
from taskdb.types.context import TaskContext
from taskdb.types.surrounding import call_surrounded
from taskdb.types.task_type import TaskType
from taskdb_worker.run.body_call import call_in_this_process, run_coroutine
from taskdb_worker.run.error import is_a, message_of, name_of, no_such_end
from taskdb_worker.run.lease import Lease
from taskdb_worker.run.link import Run
from taskdb_worker.run.outcome import HANDED_OVER, Ended, RunOutcome, Writing
from taskdb_worker.run.progress import ProgressWriter
from taskdb_worker.run.row_write import RowWrites
from taskdb_worker.run.slot_release import SlotRelease
from taskdb_worker.run.span import run_span, tell_end

log = get_logger("taskdb.run")

T = TypeVar("T")

_UNKNOWN_SECONDS = 10.0
"""The longest wait after an unknown error, where another process can continue the work."""

_OUR_FILES = frozenset(
    function.__code__.co_filename for function in (call_surrounded, call_in_this_process)
) | {__file__}
"""Frames between a worker and the body, which do not help a reader of the traceback."""


_EXPIRED = TaskError("TaskExpired", "expired before a worker claimed it")


class TaskMemoryError(Exception):
    """A body ran out of memory. It is no MemoryError, which would end the whole worker."""


class TaskExited(Exception):
    """A body called `sys.exit` (or raised KeyboardInterrupt)."""


class Execution:
    """Runs bodies for one worker."""

    def __init__(self, taskdb: TaskDB, worker: str) -> None:
        self._taskdb = taskdb
        self.store = taskdb.store
        self._payloads = taskdb.store.payloads
        self._settings = taskdb.settings
        self.max_crashes = self._settings.max_crashes
        self.own_files = _OUR_FILES
        self.worker = worker
        self.lease = Lease(inf)
        self.row_writes = RowWrites(self.store.close)
        self._slot_release = SlotRelease(taskdb)
        self.progress: ProgressWriter | None = ProgressWriter()
        self.tell_of_failure: Callable[[], None] = _tell_nobody
        """Called in the main process after a run failed. Returns at once."""

    def claim(
        self, task_id: str, task_type: TaskType, token: str, attempt: int | None = None
    ) -> Claim:
        """Claim the task of this type. Repeats while the database is not reachable.

        `attempt` comes from a signed message: the row must not have had another one since. A worker
        that may be considered dead waits for a fresh lease before it claims.
        """
        self.lease.wait()
        return self.write(
            lambda: self.store.runs.claim(
                task_id,
                token=token,
                worker=self.worker,
                max_attempts=task_type.retry.max_attempts,
                may_rerun=task_type.retry.after_crash,
                type=task_type.name,
                attempt=attempt,
            ),
            "claim",
            task_id,
        )

    def claim_again(self, task_id: str, task_type: TaskType, lost: Claim, token: str) -> bool:
        """Whether a claim that the row has lost could be made again.

        The commit of a claim does not wait for the disk, so a database that crashes right after it
        loses the claim. The attempt number distinguishes that from a task that was taken back.
        """
        try:
            found = self.write(lambda: self.store.tasks.get(task_id, EVERYONE), "read", task_id)
        except TaskNotFound:
            return False
        if found.attempt >= lost.attempt:
            return False
        log.warning("claim.lost", task_id=task_id, attempt=lost.attempt)
        anew = self.claim(task_id, task_type, token)
        return anew.granted and anew.attempt == lost.attempt

    def claim_chunk(
        self, chunk: str, task_type: TaskType, token: str, count: int, attempt: int | None = None
    ) -> list[Claim]:
        """Claim this many items of one message. Repeats and waits like `claim`."""
        self.lease.wait()
        return self.write(
            lambda: self.store.runs.claim_chunk(
                chunk,
                token=token,
                worker=self.worker,
                max_attempts=task_type.retry.max_attempts,
                may_rerun=task_type.retry.after_crash,
                count=count,
                type=task_type.name,
                attempt=attempt,
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
        """Run the body of a granted claim and write its outcome, by `writing` where given.

        Raises only errors that end this process on purpose (a shutdown, a hard limit, a
        revocation).
        """
        if not tracing.is_wanted():
            return self._run(task_id, task_type, claim, token, writing)
        with run_span(task_id, task_type.name, claim) as one:
            ended = self._run(task_id, task_type, claim, token, writing)
            tell_end(one, ended.status, ended.error, self._settings.redaction)
            return ended

    def _run(
        self, task_id: str, task_type: TaskType, claim: Claim, token: str, writing: Writing | None
    ) -> Ended:
        run = Run(self._taskdb, self.row_writes, task_id, task_type, claim, token, self.progress)
        context = TaskContext(
            run,
            task_id=task_id,
            type=task_type.name,
            tenant=claim.tenant,
            attempt=claim.attempt,
            attempts_left=max(task_type.retry.max_attempts - claim.attempts_used, 0),
            attributes=dict(claim.attributes),
            parent_id=claim.parent_id,
            position=claim.position,
        )
        outcome = (writing or RunOutcome)(
            self, task_id, task_type, claim, token, lambda: run.unwritten(context.unwritten())
        )
        end = self._end_of_body(run, context, outcome, claim)
        return self._written(task_id, outcome, partial(run.end, end))

    def _end_of_body(
        self, run: Run, context: TaskContext, outcome: RunOutcome, claim: Claim
    ) -> Callable[[], Ended]:
        """Run the body. Returns the write of its end, which the body alone decides."""
        try:
            value = None if claim.is_called_back else self._call(run.type, context, claim)
        except (WorkerShutdown, WorkerTerminate):
            raise
        except Outcome as error:
            return partial(outcome.said, error)
        except BaseException as error:
            if terminate_handler_fired():
                # Shutdown, hard limit and revocation look alike here; the main process knows which
                # it is. An error of the body's cleanup on its way out is not its end.
                if is_a(error, SystemExit):
                    raise
                raise SystemExit(EX_FAILURE) from error
            return self._ended_by(error, run, outcome, claim)
        return partial(self._returned, run, outcome, claim, value)

    def _ended_by(
        self, error: BaseException, run: Run, outcome: RunOutcome, claim: Claim
    ) -> Callable[[], Ended]:
        """Return the write of the end of a body that raised."""
        if is_a(error, (SystemExit, KeyboardInterrupt)):
            exited = TaskExited(f"{name_of(error)}: {message_of(error)}")
            return partial(outcome.crashed, exited, error)
        if is_a(error, MemoryError):
            return partial(outcome.crashed, _out_of_memory(error), error)
        for kind, end in (
            (Reject, outcome.rejected),
            (Retry, outcome.retried),
            (Ignore, lambda ignored: outcome.failed(no_such_end(ignored), ignored)),
        ):
            if is_a(error, kind):
                return partial(end, error)
        return partial(self._raised, claim.id, run, outcome, error)

    def _written(self, task_id: str, outcome: RunOutcome, end: Callable[[], Ended]) -> Ended:
        """Write the end of a run. An error of the write is not an error of the body.

        If the row can never store the outcome, the reason is written in its place.
        """
        is_last = False
        while True:
            try:
                return end()
            except SoftTimeLimitExceeded:
                # The body ended before its time limit.
                log.warning("soft_limit.write_repeated", task_id=task_id, verb="end")
                continue
            except MemoryError as error:
                if is_last:
                    raise _out_of_memory(error) from error
                end = partial(outcome.crashed, _out_of_memory(error), error)
            except Exception as error:
                if is_last:
                    raise
                log.exception("outcome.refused", task_id=task_id)
                end = partial(outcome.refused, error)
            is_last = True

    def _returned(self, run: Run, outcome: RunOutcome, claim: Claim, value: Any) -> Ended:
        if claim.is_called_back or (run.awaits_callback and not isinstance(value, Outcome)):
            return outcome.awaits()
        return HANDED_OVER if run.has_fanned_out else outcome.returned(value)

    def _raised(self, task_id: str, run: Run, outcome: RunOutcome, error: BaseException) -> Ended:
        """Write the end of a body that raised, unless it had handed over before."""
        if run.has_fanned_out:
            return self._raised_too_late(task_id, error, "its fan-out")
        if error is run.unwritten_error:
            return outcome.handed_back("its sub-tasks could not be written", error)
        if run.awaits_callback and self.write(
            lambda: self.store.callbacks.is_called_back(task_id), "read", task_id
        ):
            self._raised_too_late(task_id, error, "its callback")
            return outcome.awaits()
        return outcome.raised(error)

    def _raised_too_late(self, task_id: str, error: BaseException, what: str) -> Ended:
        """Remark an error after the hand-over, since sub-tasks or callback decide the end."""
        said = f"the body raised after {what}: {name_of(error)}: {message_of(error)}"
        log.warning("body.error_ignored", task_id=task_id, reason=said)
        self.write(
            lambda: self.store.runs.remark(task_id, {"reason": storable(said, 500)}),
            "remark",
            task_id,
        )
        return HANDED_OVER

    def part_ended(self, parent_id: str, *, badly: bool) -> PartsLeft:
        """Record the end of a part. Returns how many parts its parent still waits for."""
        return self.write(
            lambda: self.store.joins.part_ended(parent_id, badly=badly), "join", parent_id
        )

    def hold(self, task_id: str, *, chunk: bool = False) -> int:
        """Put back the tasks that admission holds. Returns their number."""
        return self.write(lambda: self.store.runs.hold(task_id, chunk=chunk), "hold", task_id)

    def expire(self, task_id: str) -> bool:
        """Fail a task that expired before its start, if its row agrees. Returns whether it did.

        The id may be that of a chunk.
        """

        def work() -> bool:
            is_late = self.store.take_backs.expire(task_id, _EXPIRED)
            if is_late:
                self.store.joins.settle(task_id)
            return is_late

        return self.write(work, "expire", task_id)

    def let_next_go(self, claim: Claim) -> None:
        """Release tasks that wait for the slots of this run. Does not wait."""
        if claim.needs_admission:
            self._slot_release.wake(claim.wait_queues)

    def join(self, parent_id: str) -> None:
        """Let the parent of an ended sub-task continue or end."""
        try:
            self.write(lambda: self.store.joins.join(parent_id), "join", parent_id)
        except Exception:
            # The sub-task is over in any case. The reconcile loop repeats this.
            log.exception("join.postponed", parent_id=parent_id)

    def _call(self, task_type: TaskType, context: TaskContext, claim: Claim) -> Any:
        if isinstance(claim.input, Unreadable):
            # Another attempt would find the same.
            raise Fail(f"the input of the row cannot be read: {claim.input['unreadable']}")
        value = self._unpack(claim.input, claim.input_ref, claim.id)
        surroundings = self._taskdb.types.surroundings
        body = partial(_answer, task_type, context, value)
        if not surroundings:
            return call_in_this_process(body)
        # Twice: a copy that the body forks must not end the surroundings, nor one that those fork
        # the run.
        return call_in_this_process(
            lambda: call_surrounded(surroundings, context, lambda: call_in_this_process(body))
        )

    def handlers_of(self, task_type: TaskType) -> list[HandlerSpec]:
        """Return the handlers of a type beside its own body, as a row stores them."""
        queue = self._settings.default_queue
        return [
            HandlerSpec(one.name, one.queue or queue, one.priority, one.mutex)
            for one in self._taskdb.types.registry.handlers_of(task_type.name)
        ]

    def stored_result(self, claim: Claim) -> Any:
        """Return the result of a task that has completed already."""
        return self._unpack(claim.result, claim.result_ref, claim.id)

    def _unpack(self, inline: Any, reference: str | None, task_id: str) -> Any:
        """Return a payload, as soon as its store is reachable. Raises PayloadMissing."""
        if reference is None:
            return inline
        return self.write(lambda: self._read(reference), "read payload", task_id)

    def _read(self, reference: str) -> Any:
        try:
            return self._payloads.read(reference)
        except PayloadMissing as error:
            if error.is_all_gone:
                # A folder that is not mounted here is no error of the task.
                raise PayloadStoreUnreachable(str(error)) from error
            raise

    def pack(self, value: Any, name: str, subject: str, task_id: str) -> Payload:
        """Store a result for the row, as soon as the payload store is reachable."""
        return self.write(
            lambda: self._payloads.pack(value, name, subject), "write payload", task_id
        )

    def discard(self, reference: str | None) -> None:
        """Delete a payload whose row did not accept it."""
        self._payloads.discard(reference)

    def write(self, work: Callable[[], T], what: str, task_id: str) -> T:
        """Write or read like `RowWrites.write`, but raise an unknown error after some seconds.

        It may concern one row only, which must not keep this process from all others.
        """
        return self.row_writes.write(work, what, task_id, unknown_seconds=_UNKNOWN_SECONDS)

    def write_outcome(self, work: Callable[[], T], what: str, task_id: str) -> T:
        """Write an outcome that no other process knows. Raises only errors of the value."""
        return self.row_writes.write(work, what, task_id)


def _answer(task_type: TaskType, context: TaskContext, value: Any) -> Any:
    answer = task_type.call(context, value)
    return run_coroutine(answer) if inspect.isawaitable(answer) else answer


def _out_of_memory(error: BaseException) -> TaskMemoryError:
    return TaskMemoryError(message_of(error) or "out of memory")


def _tell_nobody() -> None:
    """Do nothing: without a worker, there is no notifier to wake."""
