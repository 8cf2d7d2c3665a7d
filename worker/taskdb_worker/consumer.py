"""Celery's consumer, which tells of a message that nobody can read as it tells of the others."""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from typing import Any

from celery import signals
from celery.worker.consumer import Consumer


class TellingConsumer(Consumer):
    """Sends `task_rejected` where Celery only logs: for a body that does not decode."""

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Log and drop the message, then say so."""
        super().on_decode_error(message, exc)
        signals.task_rejected.send(sender=self, message=message, exc=exc)
