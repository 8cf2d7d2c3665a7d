"""Celery's control of workers, which cancels rows before it sends anything.

A worker cancels no row for a message, whoever sent it. The process that calls `revoke` has the
database, so it says there what is to be canceled.
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
    """`app.control` of an app of ours."""

    def revoke(self, task_id: Any, *arguments: Any, **options: Any) -> Any:
        """Cancel the tasks of these ids that have a row, then tell the workers.

        Those see plain Celery tasks to it, and with `terminate` end the bodies of canceled rows
        without their grace. Raises DatabaseError.
        """
        reader: Any = getattr(self.app, "taskdb_reader", None)
        for one in maybe_list(task_id) or ():
            # Over already, or a plain task.
            with suppress(TaskNotFound, IllegalMove):
                if reader is not None:
                    reader.cancel_task(one)
        return super().revoke(task_id, *arguments, **options)
