"""The channel of the embedded broker: kombu's virtual channel on a message file."""

# The methods inherited from kombu have no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import logging
from queue import Empty
from typing import Any

from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments
from kombu.utils.json import dumps, loads

from taskdb.celery.embedded.file import MessageFileBusy, MessageFileError
from taskdb.celery.embedded.lease import HeldLeases
from taskdb.celery.embedded.listener import Binding
from taskdb.celery.embedded.messages import Delivery, Messages, NewMessage
from taskdb.celery.routing import Routed

logger = logging.getLogger(__name__)


class PublishBatch:
    """The messages of one ``Producer.batch()``, stored in one transaction: all or none."""

    def __init__(self, channel: Channel, max_size: int) -> None:
        self.channel = channel
        self.max_size = max_size
        self._messages: list[NewMessage] = []

    def publish(self, message: dict[str, Any], **options: Any) -> None:
        """Route the message now and store it with the batch."""
        self.channel.basic_publish(message, _publish_batch=self, **options)
        if len(self._messages) >= self.max_size:
            self.flush()

    def add(self, messages: list[NewMessage]) -> None:
        self._messages += messages

    def flush(self) -> None:
        """Store the buffered messages; on MessageFileError none is stored, and all are dropped."""
        messages, self._messages = self._messages, []
        if messages:
            self.channel.messages.publish(messages)

    def discard(self) -> None:
        self._messages.clear()

    close = discard


class QoS(virtual.QoS):
    """Prefetch accounting, with acknowledgements in the file."""

    def ack(self, delivery_tag: str) -> None:
        """Remove the message; raises MessageFileError, after which the renewer removes it later."""
        try:
            self.channel.leases.ack(delivery_tag)
        finally:
            self._settled(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Return the message to its place in the queue, or drop it."""
        if not requeue:
            self.ack(delivery_tag)
            return
        try:
            self.channel.leases.release([delivery_tag])
        finally:
            self._settled(delivery_tag)

    def restore_unacked(self) -> list[Any]:
        """Return every unacknowledged message; after an error each returns when its lease ends."""
        self._flush()
        tags = list(self._delivered)
        self._delivered.clear()
        try:
            self.channel.leases.release(tags)
        except MessageFileError as error:
            logger.warning("messages come back when their leases end: %s", error)
        return []

    def _settled(self, delivery_tag: str) -> None:
        super().ack(delivery_tag)
        self.channel.wake_up()


class Channel(Routed):
    """A channel on the message file."""

    QoS = QoS
    #: The file keeps text and bytes unchanged.
    body_encoding = None  # type: ignore[assignment]  # kombu infers str from its default
    supports_fanout = True
    knows_listeners = True

    def __init__(self, connection: Any, **options: Any) -> None:
        super().__init__(connection, **options)
        self.messages: Messages = connection.messages
        self.leases: HeldLeases = connection.leases
        self._transport = connection
        self._seconds: dict[str, float] = {}
        self._listening: dict[str, str] = {}

    def wake_up(self) -> None:
        """Make the consumer look at once: there is room for another message."""
        self._transport.wake_up()

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """Collect the messages of a ``Producer.batch()``."""
        return PublishBatch(self, max_size)

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **options: Any
    ) -> None:
        """Consume; with `no_ack` a message is removed just before its callback."""

        def acknowledged(message: Any) -> Any:
            self.basic_ack(message.delivery_tag)
            return callback(message)

        wanted = acknowledged if no_ack else callback
        super().basic_consume(queue, False, wanted, consumer_tag, **options)
        if queue in self.messages.listeners:
            self._listening[consumer_tag] = queue
            self.messages.listeners.heard(queue)
            self.leases.start_renewer()

    def basic_cancel(self, consumer_tag: str) -> None:
        """Cancel the consumer; the queue of a listener goes with its last one."""
        super().basic_cancel(consumer_tag)
        queue = self._listening.pop(consumer_tag, None)
        if queue is not None and queue not in self._listening.values():
            try:
                self.queue_delete(queue)
            except MessageFileError as error:
                logger.warning("the queue of a listener stays until it is too old: %s", error)

    def basic_get(self, queue: str, no_ack: bool = False, **options: Any) -> Any:
        """Return the next message of the queue, or None."""
        message = super().basic_get(queue, **options)
        if no_ack and message is not None:
            self.basic_ack(message.delivery_tag)
        return message

    def prepare_queue_arguments(self, arguments: Any, **options: Any) -> Any:
        """Return a queue's arguments with the names that RabbitMQ gives to kombu's options."""
        return to_rabbitmq_queue_arguments(arguments, **options)

    def queue_bind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: Any = None,
        **options: Any,
    ) -> None:
        """Bind, for every process that uses the file."""
        super().queue_bind(queue, exchange, routing_key, arguments, **options)
        exchange = exchange or "amq.direct"
        meta = self.typeof(exchange).prepare_bind(queue, exchange, routing_key, arguments)
        # Always: kombu declares a binding only once, and the file may be new.
        self.messages.bind(Binding(exchange, routing_key or "", queue, meta[1] or ""))

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: Any = None,
        **options: Any,
    ) -> None:
        """Remove a binding, for every process that uses the file."""
        exchange = exchange or "amq.direct"
        self.state.binding_delete(queue, exchange, routing_key)
        table = self.state.exchanges.get(exchange, {}).get("table", [])
        table[:] = [entry for entry in table if (entry[0], entry[2]) != (routing_key, queue)]
        self.messages.unbind(exchange, routing_key or "", queue)

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """Return the bindings of an exchange, from every process.

        This process's bindings count even if the file was deleted: kombu declares them only once.
        """
        own = self.state.exchanges.get(exchange, {}).get("table", [])
        kept = self.messages.bindings(exchange)
        found = {(key, queue): (key, pattern, queue) for key, pattern, queue in own}
        self._seconds = {}
        for key, pattern, queue, seconds in kept:
            found[key, queue] = (key, pattern, queue)
            if seconds is not None:
                self._seconds[queue] = seconds
        return list(found.values())

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **options: Any
    ) -> None:
        """Delete a queue, also one that this process has not declared."""
        if if_empty and self._size(queue):
            return
        self.state.queue_bindings_delete(queue)
        for known in self.state.exchanges.values():
            known["table"][:] = [entry for entry in known["table"] if entry[2] != queue]
        self.messages.delete_queue(queue)

    def _queue_bind(self, *meta: Any) -> None:
        """Do nothing: `queue_bind` has stored the binding."""

    def _put_fanout(
        self,
        exchange: str,
        message: dict[str, Any],
        routing_key: str,
        _publish_batch: PublishBatch | None = None,
        **options: Any,
    ) -> None:
        queues = self._lookup(exchange, routing_key)
        self._store([self._new(queue, message) for queue in queues if queue], _publish_batch)

    def _put(
        self,
        queue: str,
        message: dict[str, Any],
        _publish_batch: PublishBatch | None = None,
        **options: Any,
    ) -> None:
        self._store([self._new(queue, message)], _publish_batch)

    def _new(self, queue: str, message: dict[str, Any]) -> NewMessage:
        envelope = dumps({key: value for key, value in message.items() if key != "body"})
        priority = self._get_message_priority(message)
        return NewMessage(queue, priority, envelope, message["body"], self._seconds.get(queue))

    def _store(self, messages: list[NewMessage], batch: PublishBatch | None) -> None:
        if batch is not None:
            batch.add(messages)
        elif messages:
            self.messages.publish(messages)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        try:
            delivery = self.messages.lease(queue)
        except MessageFileBusy as error:
            # A file that is locked for long must not drop the connection and the tasks that run.
            logger.warning("no message taken: %s", error)
            raise Empty from error
        if delivery is None:
            raise Empty
        self.leases.hold(delivery.lease)
        return _payload(delivery)

    def _new_queue(
        self,
        queue: str,
        auto_delete: bool = False,
        exclusive: bool = False,
        arguments: Any = None,
        **options: Any,
    ) -> None:
        if not (auto_delete or exclusive):
            self.messages.declare_queue(queue)
            return
        milliseconds = (arguments or {}).get("x-message-ttl")
        self.messages.listeners.declare(queue, milliseconds and milliseconds / 1_000)

    def _has_queue(self, queue: str, **options: Any) -> bool:
        return self.messages.has_queue(queue)

    def _size(self, queue: str) -> int:
        return self.messages.count_ready(queue)

    def _purge(self, queue: str) -> int:
        return self.messages.purge(queue)


def _payload(delivery: Delivery) -> dict[str, Any]:
    """Build the payload of kombu's virtual channels; the delivery tag is the lease's token."""
    payload: dict[str, Any] = loads(delivery.envelope)
    payload["body"] = delivery.body
    properties = payload["properties"]
    properties["delivery_tag"] = delivery.lease.token
    properties["delivery_info"]["redelivered"] = delivery.redelivered
    if delivery.redelivered:
        payload["redelivered"] = True
    return payload
