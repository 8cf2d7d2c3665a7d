"""The trace span of one run. It continues the trace of the submit and links the last attempt."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from taskdb import tracing
from taskdb.model.status import TaskStatus
from taskdb.redaction.redaction import Redaction
from taskdb.store.contract import Claim
from taskdb_worker.run.error import message_of

_MESSAGE_LIMIT = 500
_WENT_WRONG = frozenset({TaskStatus.ERRORED, TaskStatus.FAILED, TaskStatus.HALTED})


def run_span(task_id: str, type_name: str, claim: Claim) -> AbstractContextManager[Any]:
    """Return the span that is active while the body runs, so that the body's spans are below."""
    attributes = {
        "messaging.system": "taskdb",
        "messaging.operation.name": "run",
        "messaging.message.id": task_id,
        "taskdb.type": type_name,
        "taskdb.tenant": claim.tenant or None,
        "taskdb.attempt": claim.attempt,
        "taskdb.parent_id": claim.parent_id,
        "taskdb.role": claim.role and claim.role.value,
        "taskdb.position": claim.position,
    }
    before = claim.error.trace if claim.error is not None and claim.error.trace else None
    return tracing.span(f"run {type_name}", "CONSUMER", attributes, parent=claim.trace, link=before)


def tell_end(
    span: Any, status: TaskStatus | None, error: BaseException | None, redaction: Redaction
) -> None:
    """Record how the run ended. The message of an error is redacted."""
    if span is None:
        return
    span.set_attribute("taskdb.status", status.value if status else "not accepted")
    if error is not None and status in _WENT_WRONG:
        message = redaction.text(message_of(error), _MESSAGE_LIMIT)
        tracing.failed(span, type(error).__name__, message)
