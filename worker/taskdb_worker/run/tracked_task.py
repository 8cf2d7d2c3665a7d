"""The Celery task class of every task type: it obeys the claim and reports the end to Celery.

Only `__call__` can skip a body, or return the result of an earlier run: Celery runs the body
regardless of signal receivers. It writes the outcome before it returns, because Celery publishes
what follows before it sends `task_success` and `task_failure`.
"""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any

from celery import Task, current_task
from celery.exceptions import Ignore, Reject, Retry
from celery.worker.request import Request

from taskdb.celery.application import MAPS
from taskdb.celery.publish.publisher import CHUNK_HEADER
from taskdb.errors import TaskNotSubmitted
from taskdb.logger import get_logger
from taskdb.model.entity import TaskRole
from taskdb.model.json_text import storable
from taskdb.model.status import WAITING, TaskStatus
from taskdb.store.contract import Claim
from taskdb.types.task_type import TaskType
from taskdb_worker.message.check import ATTEMPT
from taskdb_worker.message.foreign import ForeignMessages
from taskdb_worker.run.chunk import Chunk
from taskdb_worker.run.error import fit_for_celery, message_of, name_of
from taskdb_worker.run.execution import Execution
from taskdb_worker.run.outcome import Ended, RequestedRetry

log = get_logger("taskdb.run")

TOKEN = "taskdb_token"  # noqa: S105 - the name of an attribute
"""Attribute of a request: the token of this delivery."""
CLAIM = "taskdb_claim"
"""Attribute of a request: the claim that `task_prerun` got; for a chunk, a list of claims."""
ENDED = "taskdb_ended"
"""Attribute of a request: the outcome is in the row, so signals need not write it."""


_LONGEST_MESSAGE = 1_000


@dataclass(frozen=True, slots=True)
class Part:
    """The parent of a run that is a part, from its row. Stands on the request as its chord."""

    parent_id: str
    queue: str


class TaskFailed(Exception):
    """Stands in Celery for a failure that the row describes."""


class TrackedRequest(Request):
    """A delivery with a token of its own, known in the main process and in the pool."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        # The pool process gets this dictionary, so both processes know the same token.
        self._request_dict[TOKEN] = token_hex(16)
        count = self._request_dict.get(CHUNK_HEADER)
        if count is not None:
            self._give_time(count)

    def _give_time(self, count: int) -> None:
        """Multiply the limits of one item by the count, since a pool limits a whole message."""
        hard, soft = self.task.time_limit, self.task.soft_time_limit
        self.time_limits = (hard and hard * count, soft and soft * count)
        self._request_dict["timelimit"] = self.time_limits

    def revoked(self) -> bool:
        """Whether this very delivery was ended. The claim checks all else in the row.

        Celery would also check its list of ids that were once revoked here, and the expiry in the
        message. Both may be older than the last submit or retry of the task.
        """
        return bool(self._already_revoked)

    def on_failure(
        self,
        exc_info: Any,
        send_failed_event: bool = True,  # noqa: FBT001, FBT002 - Celery's signature
        return_ok: bool = False,  # noqa: FBT001, FBT002 - Celery's signature
    ) -> None:
        """Report in the main process that a run in the pool failed."""
        super().on_failure(exc_info, send_failed_event, return_ok)
        if not isinstance(getattr(exc_info, "exception", None), Retry):
            self.task.execution.tell_of_failure()

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's signature
        """Send the signals of a hard limit with this request as the current one."""
        self.task.request_stack.push(self._context)
        try:
            super().on_timeout(soft, timeout)
        finally:
            self.task.request_stack.pop()


class TrackedTask(Task):
    """Runs a task type. Its arguments are empty: the input is in the row."""

    abstract = True
    Request = f"{__name__}:TrackedRequest"
    typing = False
    max_retries = None
    # Only readers of the row see results. Celery would show them in its log and to Flower.
    resultrepr_maxsize = 0

    task_type: TaskType
    execution: Execution
    foreign = ForeignMessages()

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        request = self.request
        if request.called_directly:
            if getattr(current_task, "name", None) in MAPS:
                # Its arguments come from a message, which any client of the broker can write.
                raise TaskNotSubmitted(self.name)
            return self.task_type.body(*arguments, **keywords)
        claim = getattr(request, CLAIM, None)
        if claim is None:
            claim = self.claim(request)
        if isinstance(claim, list):
            return self._run_chunk(request, claim)
        return self._run(request, claim)

    def retry(
        self,
        args: Any = None,  # noqa: ARG002 - Celery's signature
        kwargs: Any = None,  # noqa: ARG002 - Celery's signature
        exc: BaseException | None = None,
        throw: bool = True,  # noqa: ARG002, FBT001, FBT002 - Celery's signature
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,  # noqa: ARG002 - Celery's signature
    ) -> Any:
        """Ask for another attempt, as in a plain Celery task. Always raises.

        Publishes nothing: the row becomes ERRORED, and the relay publishes it when it is due.
        """
        asked = RequestedRetry(exc=exc, when=countdown if eta is None else eta)
        asked.max_retries = max_retries
        raise asked

    def apply(self, *_: Any, **__: Any) -> Any:
        """Refuse Celery's call in this process, also if eager: always raises TaskNotSubmitted."""
        raise TaskNotSubmitted(self.name)

    def claim(self, request: Any) -> Claim | list[Claim]:
        """Claim the task or the items of a message, and keep the claim on the request."""
        token, count = token_of(request), chunk_count(request)
        attempt = getattr(request, ATTEMPT, None)
        claim: Claim | list[Claim]
        if count is None:
            claim = self.execution.claim(request.id, self.task_type, token, attempt)
        else:
            claim = self.execution.claim_chunk(request.id, self.task_type, token, count, attempt)
        setattr(request, CLAIM, claim)
        # The row names the fan-out of a part. Celery counts the parts of a chord.
        part = _part(claim[0] if isinstance(claim, list) and claim else claim)
        request.chord, request.group = part, None if part is None else part.parent_id
        return claim

    def _run(self, request: Any, claim: Claim) -> Any:
        token = token_of(request)
        if not claim.granted:
            return self._answer_without_running(request, claim)
        ended = self.execution.run(request.id, self.task_type, claim, token)
        setattr(request, ENDED, True)
        self.execution.let_next_go(claim)
        if claim.parent_id is not None and not _is_counted_by_celery(claim, ended, request):
            self.execution.join(claim.parent_id)
        return _tell_celery(request.id, ended)

    def _run_chunk(self, request: Any, claims: list[Claim]) -> int:
        """Run the items of a message that are left. Celery only learns that the message is done.

        The rows have the end of each item. After Celery's count, they decide what follows.
        """
        if len(claims) < (chunk_count(request) or 0):
            self.execution.hold(request.id, chunk=True)
            self.execution.expire(request.id)
        if claims:
            token = token_of(request)
            Chunk(self.execution, self.task_type, claims, token, self.soft_time_limit).run()
            if claims[0].parent_id is not None and getattr(request, "chord", None) is None:
                self.execution.join(claims[0].parent_id)
        else:
            log.info("message.ignored", task_id=request.id, status="no item waits")
        setattr(request, ENDED, True)
        return len(claims)

    def _answer_without_running(self, request: Any, claim: Claim) -> Any:
        """Handle a message that must not run: return or raise the earlier end, or raise Ignore."""
        task_id = request.id
        setattr(request, ENDED, True)
        if claim.status in {TaskStatus.COMPLETED, TaskStatus.FINISHED}:
            return self.execution.stored_result(claim)
        if claim.status is TaskStatus.FAILED:
            reason = claim.error.message if claim.error else "failed before"
            raise TaskFailed(reason)
        if claim.status in WAITING and self.execution.hold(task_id):
            log.info("task.held", task_id=task_id)
        elif claim.status in WAITING and self.execution.expire(task_id):
            log.info("task.expired", task_id=task_id)
        elif claim.status is None and is_called_plainly(request):
            self.foreign.warn(self.name, task_id)
        else:
            log.info("message.ignored", task_id=task_id, status=claim.status or "no row")
        raise Ignore


def is_called_plainly(request: Any) -> bool:
    """Whether a message comes from Celery's own ways to call a task: TaskDB's have no arguments.

    Celery's describe their arguments in a header, also where there are none.
    """
    has_arguments = getattr(request, "args", None) or getattr(request, "kwargs", None)
    return bool(has_arguments or getattr(request, "argsrepr", None))


def token_of(request: Any) -> str:
    """Return the token of a delivery. One without a token (an eager call) gets a new one."""
    token: str | None = getattr(request, TOKEN, None)
    if token is None:
        token = token_hex(16)
        setattr(request, TOKEN, token)
    return token


def chunk_count(request: Any) -> int | None:
    """Return how many items a message is for, or None for a message of a single task."""
    return getattr(request, CHUNK_HEADER, None)


def _part(claim: Claim | list[Claim]) -> Part | None:
    if isinstance(claim, list) or claim.role is not TaskRole.PART or claim.parent_id is None:
        return None
    return Part(claim.parent_id, claim.queue)


def _is_counted_by_celery(claim: Claim, ended: Ended, request: Any) -> bool:
    """Whether the parent needs no check: the run continues, or Celery counts it as a part."""
    if ended.status is None or not ended.status.is_terminal:
        return True
    if claim.role is TaskRole.STEP and ended.status is TaskStatus.COMPLETED:
        # The statement that ended the step also created the next one.
        return True
    has_ended = ended.status in {TaskStatus.COMPLETED, TaskStatus.FAILED}
    return claim.role is TaskRole.PART and has_ended and getattr(request, "chord", None) is not None


def _tell_celery(task_id: str, ended: Ended) -> Any:
    """Return or raise the outcome, so that Celery and the row agree."""
    if ended.status is TaskStatus.COMPLETED:
        return ended.value
    if ended.status in {TaskStatus.ERRORED, TaskStatus.SCHEDULED}:
        # Raised without publishing: task_retry fires, and the relay publishes when it is due.
        raise Retry(exc=fit_for_celery(ended.error), when=ended.delay.total_seconds())
    if ended.status is TaskStatus.FAILED:
        raise _failure(ended.error)
    if ended.status is TaskStatus.CREATED and isinstance(ended.error, Reject):
        # The relay publishes the row; a requeued message would be its duplicate.
        raise Ignore
    if ended.status is None:
        log.warning("outcome.rejected", task_id=task_id)
    raise Ignore


def _failure(error: BaseException | None) -> BaseException:
    """Return the body's exception, or TaskFailed if Celery would not treat it as a failure."""
    special = (Ignore, Reject, Retry, MemoryError)
    fit = fit_for_celery(error)
    if fit is not None and not isinstance(fit, special):
        return fit
    if error is None:
        return TaskFailed("")
    return TaskFailed(f"{name_of(error)}: {storable(message_of(error), _LONGEST_MESSAGE)}")
