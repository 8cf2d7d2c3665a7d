"""Refuses remote control for a scoped client's Celery app: it would reach all tenants' workers."""

# Celery's base class has no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from typing import Any

from celery.app.control import Control

from taskdb.errors import Fault, InvalidInput


class RefusedControl(Control):
    """Refuses every command, including those of `AsyncResult.revoke` and `inspect`."""

    def broadcast(self, command: Any, *_args: Any, **_kwargs: Any) -> Any:
        """Raise InvalidInput: a command can name any task and reaches every worker."""
        advice = "it reaches workers of every tenant: use cancel_task, or the unscoped client"
        raise InvalidInput("remote control", [Fault("", advice)])

    def purge(self, *_args: Any, **_kwargs: Any) -> Any:
        """Raise InvalidInput: a queue holds messages of every tenant."""
        self.broadcast("purge")

    discard_all = purge
