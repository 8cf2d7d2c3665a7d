"""The log as a way out: one line a message, for where logs are collected anyway."""

from __future__ import annotations

from taskdb.logger import get_logger
from taskdb.model.message import Message

log = get_logger("taskdb.outbound")


class Log:
    """Writes messages as log lines: who they are about, and not what a task carries."""

    def send(self, message: Message) -> None:
        about = {"tenant": message.tenant, "type": message.type, "task_id": message.task_id}
        log.info("notification.logged", **{**message.attributes, **about, "id": message.id})

    def close(self) -> None:
        """Nothing is kept open."""
