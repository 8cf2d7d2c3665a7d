"""Messages of task types that no submit has published: a plain Celery client called the type."""

from __future__ import annotations

from taskdb.logger import get_logger
from taskdb_worker.message.rare_log import RareLog

log = get_logger("taskdb.run")


class ForeignMessages:
    """Warns of such messages, once a type in a while. Each warning counts those since the last."""

    def __init__(self) -> None:
        self._rare_log = RareLog()

    def warn(self, type_name: str, task_id: str) -> None:
        """Log that a message of this type has no row, so that its body does not run."""
        if count := self._rare_log.count(type_name):
            log.warning(
                "plain_call.refused",
                type=type_name,
                task_id=task_id,
                count=count,
                advice="a Celery client called the type by delay, apply_async or send_task, and "
                "waits for a task that does not exist; call submit_task there, or `taskdb create`",
            )
