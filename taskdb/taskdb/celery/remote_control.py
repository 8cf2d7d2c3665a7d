"""Celery's commands to workers; a process without remote control sends none."""

# Celery's base class has no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from typing import Any

from celery.app.control import Control


class RemoteControl(Control):
    """Sends nothing if `worker_enable_remote_control` is off.

    Celery's setting only stops a worker from obeying. A receiver of events also publishes a
    command, which asks workers for a heartbeat; with this class Flower needs no right to publish.
    """

    def broadcast(self, *arguments: Any, **options: Any) -> Any:
        """Send a command and return the replies; None where remote control is off."""
        if not self.app.conf.worker_enable_remote_control:
            return None
        return super().broadcast(*arguments, **options)
