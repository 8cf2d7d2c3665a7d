"""The log as a transport: one line a message, for sites that collect logs."""

from __future__ import annotations

from taskdb.logger import get_logger
from taskdb.model.message import Message

log = get_logger("taskdb.outbound")


class Log:
    """Logs the subject of each message, without the data of the task."""

    def send(self, message: Message) -> None:
        about = {"tenant": message.tenant, "type": message.type, "task_id": message.task_id}
        log.info("notification.logged", **{**message.attributes, **about, "id": message.id})

    def close(self) -> None:
        """Do nothing: there is no open resource."""
