"""Celery's consumer, which survives unreadable messages and logs them."""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import Any

from celery import signals
from celery.worker.consumer import Consumer

from taskdb.logger import get_logger
from taskdb_worker.message.check import MessageCheck, MessageRefused

log = get_logger("taskdb.worker")
_kombu_log = getLogger(__name__)


class ReportingConsumer(Consumer):
    """Sends `task_rejected` for messages without a task, where Celery only logs or ends."""

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Log and drop the message, then send `task_rejected`."""
        super().on_decode_error(message, exc)
        signals.task_rejected.send(sender=self, message=message, exc=exc)

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Any], None]:
        """Return the handler of messages. Celery's own ends the worker on unreadable fields."""
        handle = super().create_task_handler(*arguments, **options)
        check: MessageCheck = self.app.taskdb_check
        of_the_line = (*self.connection_errors, *self.channel_errors)

        def on_task_received(message: Any) -> None:
            try:
                check.read(message, self.app.tasks)
                handle(message)
            except MessageRefused as error:
                check.log(message, error)
                message.reject_log_error(_kombu_log, self.connection_errors)
            except of_the_line as error:
                if not isinstance(error, LookupError):
                    raise
                self._drop(message, error)
            except Exception as error:  # noqa: BLE001 - nothing in one message may end a worker
                self._drop(message, error)

        return on_task_received

    def _drop(self, message: Any, error: Exception) -> None:
        log.warning(
            "message.dropped",
            queue=(message.delivery_info or {}).get("routing_key"),
            reason=f"{type(error).__name__}: {error}"[:500],
            advice="something else writes to this queue; a task whose message it was gets another",
        )
        if not message.acknowledged:
            message.reject_log_error(_kombu_log, self.connection_errors)
        signals.task_rejected.send(sender=self, message=message, exc=error)
