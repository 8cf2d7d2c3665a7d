"""Sends committed rows to the broker, in the calling thread.

A message carries the id of its task and not the input. A row becomes QUEUED after the broker
took the message, one statement a batch. Rows that cannot be published are left to the relay.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID, uuid5

from celery import Celery

from taskdb import tracing
from taskdb.celery.configuration import broker_kind, broker_priority, check_broker
from taskdb.celery.message_signature import MessageKeys, Subject
from taskdb.celery.publish.connection import BrokerConnections
from taskdb.celery.publish.sender import BatchResult, Sender
from taskdb.errors import BrokerUnreachable
from taskdb.logger import get_logger
from taskdb.settings.settings import Settings
from taskdb.store.contract import Publication
from taskdb.store.store import Store

log = get_logger("taskdb.publish")

BATCH = 500
"""The number of messages that are sent and marked together."""
FIRST = 50
"""The number of a fan-out's parts in the first page: workers do not wait for a whole batch."""
FINALIZE = "taskdb.finalize"
"""The Celery task that ends a parent."""
CHUNK_HEADER = "taskdb_chunk"
"""Header of a message with several items: their number. The message id is their `chunk`."""


class Publishes(Protocol):
    """The publisher, as a loop needs it."""

    def publish(self, items: Sequence[Publication]) -> set[str]:
        """Send every item and mark it QUEUED; returns the ids of the rows that moved."""


class Publisher:
    """Sends messages and marks their rows. Raises SettingsError for a broker that cannot work."""

    def __init__(self, settings: Settings, store: Store, app: Celery | None = None) -> None:
        check_broker(settings)
        self._store = store
        self._kind = broker_kind(settings)
        self._keys = MessageKeys.of(settings)
        self._connections = BrokerConnections(settings, app)
        self._sender = Sender(self._connections, self._send_one)

    @property
    def app(self) -> Celery:
        """The Celery app that sends; a forked process gets its own, with its own connections."""
        return self._connections.app

    def publish(self, items: Sequence[Publication]) -> set[str]:
        """Send every item and mark it QUEUED; returns the ids of the rows that moved.

        A message that cannot be made, or that the broker refuses, is logged and recorded in the
        history of its row. It is retried with growing delays and does not stop other messages.
        Raises BrokerUnreachable at the first batch that the broker may not have taken: messages
        sent before are marked, the rest is left to the relay.
        """
        marked: set[str] = set()
        for start in range(0, len(items), BATCH):
            result = BatchResult()
            began = time.time_ns()
            try:
                self._send(items[start : start + BATCH], result)
            finally:
                if result.sent:
                    marked |= self._store.publications.mark_queued(result.sent)
                    _trace(result.sent, began)
                if result.refused:
                    self._refuse(list(result.refused.values()))
        return marked

    def visible(self, items: Sequence[Publication]) -> list[Publication]:
        """Return the items whose rows are committed in the same version.

        A resubmitted or retried row existed before; its `relay_at` then differs.
        """
        wanted = {item.id: item.relay_at for item in items}
        return [
            one
            for one in self._store.publications.find(list(wanted))
            if one.relay_at == wanted[one.id]
        ]

    def family_page(self, parent_id: str, after: str) -> list[Publication]:
        """Return the next parts of a fan-out to publish after this id; chunks stay whole."""
        if not after:
            page = self._store.publications.page_of_parts(parent_id, after, FIRST)
            if not page or page[-1].chunk is None:
                return page
        page = self._store.publications.page_of_parts(parent_id, after, BATCH)
        if len(page) < BATCH or page[-1].chunk is None or page[0].chunk == page[-1].chunk:
            return page
        return [item for item in page if item.chunk != page[-1].chunk]

    def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """Count the ready messages of each queue; messages that consumers hold do not count.

        A missing queue has none; a queue that the broker cannot count is left out.
        Raises BrokerUnreachable.
        """
        found: dict[str, int] = {}
        for queue in queues:
            try:
                with self._connections.producer() as producer:
                    answer = producer.channel.queue_declare(queue, passive=True)
                    found[queue] = answer.message_count
            except Exception as error:
                if _is_not_found(error):
                    found[queue] = 0
                elif self._sender.is_unreachable(error):
                    self._connections.cut_idle()
                    raise BrokerUnreachable(self._sender.explain(error)) from error
                else:
                    log.warning("queue.count_failed", queue=queue, reason=str(error))
        return found

    def close(self) -> None:
        """Close the connections of this process."""
        self._connections.close()

    def _send(self, batch: Sequence[Publication], result: BatchResult) -> None:
        by_queue: dict[str, list[Publication]] = {}
        for item in batch:
            by_queue.setdefault(item.queue, []).append(item)
        for group in by_queue.values():
            self._sender.send(_messages(group), result)

    def _refuse(self, refused: Sequence[tuple[Publication, str]]) -> None:
        by_reason: dict[tuple[str, str], list[Publication]] = {}
        for item, reason in refused:
            by_reason.setdefault((item.queue, reason), []).append(item)
        for (queue, reason), items in by_reason.items():
            log.warning(
                "publish.refused",
                queue=queue,
                reason=reason,
                count=len(items),
                task_id=items[0].id,
                advice="the tasks are kept and tried again later; make the queue of the broker and "
                "the settings alike, or mend what makes the message (`taskdb why` names it)",
            )
        self._store.publications.refuse(refused)

    def _send_one(self, producer: Any, items: Sequence[Publication]) -> None:
        item = items[0]
        message_id = item.chunk or item.id
        subject = Subject(message_id, item.type, 0 if item.chunk is None else len(items))
        added = {**_headers(items), **self._keys.sign(subject, item.attempt)}
        kind = (item.type, item.priority, item.parent_id, item.group, *added)
        pattern = producer.patterns.get(kind)
        if pattern is None:
            self._send_by_celery(producer, item, message_id, added)
            producer.patterns.keep(kind, item.type, *producer.sent)
        else:
            pattern.send(producer, message_id, added)

    def _send_by_celery(
        self, producer: Any, item: Publication, message_id: str, added: dict[str, Any]
    ) -> None:
        # Without a timeout a missing confirm would block the publisher forever. Without `mandatory`
        # the broker silently drops a message whose queue was deleted, or whose route has none.
        surely: dict[str, Any] = {} if self._kind == "other" else {"mandatory": True}
        if self._kind == "amqp":
            surely["confirm_timeout"] = 2
        self.app.send_task(
            item.type,
            task_id=message_id,
            queue=item.queue,
            priority=broker_priority(self._kind, item.priority),
            headers=added,
            group_id=item.group,
            # Celery events show these ids; left out, they would depend on the sender.
            root_id=item.parent_id,
            parent_id=item.parent_id,
            producer=producer,
            retry=False,
            ignore_result=True,
            argsrepr="",
            kwargsrepr="",
            **surely,
        )


def _messages(items: Sequence[Publication]) -> list[list[Publication]]:
    """Group the items into messages: one for each task, and one for each chunk."""
    chunks: dict[str, list[Publication]] = {}
    for item in items:
        chunks.setdefault(item.chunk or item.id, []).append(item)
    return list(chunks.values())


def end_of(parent_id: str) -> str:
    """Return the id of the message that ends a parent: the same id for the same parent."""
    return str(uuid5(UUID(parent_id), FINALIZE))


def publish_end(app: Celery, keys: MessageKeys, parent_id: str, queue: str) -> None:
    """Publish the message that ends a parent whose parts have ended."""
    message_id = end_of(parent_id)
    app.send_task(
        FINALIZE,
        [parent_id],
        task_id=message_id,
        queue=queue,
        headers=keys.sign(Subject(message_id, FINALIZE), 0),
        root_id=parent_id,
        parent_id=parent_id,
        ignore_result=True,
        retry=False,
    )


def _headers(items: Sequence[Publication]) -> dict[str, Any]:
    headers: dict[str, Any] = {**_expiry(items[0]), **tracing.headers_of(items[0].trace)}
    if items[0].chunk is not None:
        headers[CHUNK_HEADER] = len(items)
    return headers


def _trace(sent: Sequence[Publication], began: int) -> None:
    """Add a span to the trace of each message, from before it was sent to its mark."""
    if not tracing.is_wanted():
        return
    ended = time.time_ns()
    for item in sent:
        if item.trace is not None:
            attributes = {
                "messaging.system": "taskdb",
                "messaging.operation.name": "publish",
                "messaging.destination.name": item.queue,
                "messaging.message.id": item.id,
                "messaging.batch.message_count": len(sent),
                "taskdb.type": item.type,
            }
            name = f"publish {item.type}"
            tracing.passed(name, "PRODUCER", attributes, item.trace, (began, ended))


def _expiry(item: Publication) -> dict[str, Any]:
    # Only the worker reads this header; it ends the row. Celery's own `expires` also sets a time
    # to live on the message, after which RabbitMQ silently drops it.
    return {} if item.deadline_at is None else {"expires": item.deadline_at.isoformat()}


def _is_not_found(error: Exception) -> bool:
    return str(getattr(error, "reply_code", None) or getattr(error, "code", None)) == "404"
