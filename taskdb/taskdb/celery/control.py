"""Celery's control of workers. It cancels rows before it sends a command.

A worker does not cancel a row because of a message, from any sender. The process that calls
`revoke` has the database, so it cancels the rows there.
"""

# Celery's classes have no types.
# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from contextlib import suppress
from typing import Any

from celery.utils.functional import maybe_list

from taskdb.celery.remote_control import RemoteControl
from taskdb.errors import IllegalMove, TaskNotFound


class RowControl(RemoteControl):
    """`app.control` of an app of this package."""

    def revoke(self, task_id: Any, *arguments: Any, **options: Any) -> Any:
        """Cancel the tasks of these ids that have a row, then send the command to the workers.

        The workers revoke plain Celery tasks. With `terminate` they also end the bodies of canceled
        rows without a grace period. Raises DatabaseError.
        """
        reader: Any = getattr(self.app, "taskdb_reader", None)
        for one in maybe_list(task_id) or ():
            # The task has ended already, or it is a plain task.
            with suppress(TaskNotFound, IllegalMove):
                if reader is not None:
                    reader.cancel_task(one)
        return super().revoke(task_id, *arguments, **options)
