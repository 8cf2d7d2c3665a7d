"""Celery's view of the end of a body, for code that classifies exceptions."""

from __future__ import annotations

from billiard.common import terminate_handler_fired
from celery.exceptions import Reject, Retry


def is_terminating() -> bool:
    """Whether this process must terminate; an exception raised then does not end a task."""
    return bool(terminate_handler_fired())


def asks_to_run_again(error: BaseException) -> bool:
    """Whether a body raised an exception with which Celery asks for another run."""
    kind = type(error)
    return issubclass(kind, Retry) or (issubclass(kind, Reject) and bool(error.requeue))  # type: ignore[attr-defined]
