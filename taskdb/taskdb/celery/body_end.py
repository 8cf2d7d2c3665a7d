"""What only Celery's side knows of the end of a body: who reads an exception asks here."""

from __future__ import annotations

from billiard.common import terminate_handler_fired
from celery.exceptions import Reject, Retry


def is_terminating() -> bool:
    """Whether this process was told to end: what is raised now is no end of a task."""
    return bool(terminate_handler_fired())


def asks_to_run_again(error: BaseException) -> bool:
    """Whether a body raised Celery's word for another run."""
    kind = type(error)
    return issubclass(kind, Retry) or (issubclass(kind, Reject) and bool(error.requeue))  # type: ignore[attr-defined]
