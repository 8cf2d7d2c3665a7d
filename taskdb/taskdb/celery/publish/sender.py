"""Sends to the broker: finds which messages it took or refused, and when it is unreachable.

A refused message affects its row alone, for any cause: a router, a serializer, a queue
with other arguments at the broker, a broker that drops the connection for it. The broker is
unreachable when no connection can be opened, when it takes too long, when it replies that it takes
no messages, and when it drops one connection after another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from kombu.exceptions import BatchPublishError

from taskdb.celery.publish.connection import BrokerConnections
from taskdb.celery.publish.message_pattern import Patterns
from taskdb.celery.publish.unreachable import (
    is_answer,
    is_timeout,
    is_unreachable,
    reason_of,
    spelled,
)
from taskdb.errors import BrokerUnreachable
from taskdb.logger import get_logger
from taskdb.redaction.url_mask import mask_url
from taskdb.store.contract import Publication

log = get_logger("taskdb.publish")

_TROUBLE_SECONDS = 5.0
"""A queue is tried for this time after its first error; the relay publishes the other rows."""
_MOST_LOST = 3
"""After this many dropped connections, one message after another, it is unreachable."""
_UNFLUSHED = 1_000_000
"""The most commands that a batch buffers: so high that only the sender flushes it."""

Message = Sequence[Publication]
"""The rows of one message; several for the items of a chunk."""
SendOne = Callable[[Any, Message], None]
"""Makes the message of these rows and passes it to a producer."""


@dataclass
class BatchResult:
    """The result for each row of a batch; a row in neither list was not tried."""

    sent: list[Publication] = field(default_factory=list)
    refused: dict[str, tuple[Publication, str]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    undeclared: dict[tuple[str, str], Exception] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """Record that the broker certainly took a message."""
        self.sent.extend(message)
        self.known.update(item.id for item in message)

    def refuse(self, message: Message, error: BaseException) -> None:
        """Record that a message cannot be made, or that the broker does not take it."""
        reason = spelled(error)
        for item in message:
            self.refused[item.id] = (item, reason)
            self.known.add(item.id)

    def left(self, messages: Sequence[Message]) -> list[Message]:
        """Return the messages that have no result yet."""
        return [message for message in messages if message[0].id not in self.known]


class Sender:
    """Sends the messages of one queue over connections of this process."""

    def __init__(self, connections: BrokerConnections, send_one: SendOne) -> None:
        self._connections = connections
        self._send_one = send_one

    @property
    def _app(self) -> Celery:
        return self._connections.app

    def send(self, messages: Sequence[Message], result: BatchResult) -> None:
        """Send messages of one queue; raises BrokerUnreachable.

        Sends all together. After the first error of an unknown message, sends one at a time.
        """
        is_alone, lost, until = False, 0, float("inf")
        while left := result.left(messages):
            if time.monotonic() > until:
                return
            try:
                self._try(left[:1] if is_alone else left, result)
                lost = 0
            except BrokerUnreachable:
                raise
            except _LostError as error:
                self._reach(error)
                lost += is_alone
                if is_alone:
                    result.refuse(left[0], error.reason)
                if lost == _MOST_LOST:
                    raise BrokerUnreachable(self.explain(error.reason)) from error.reason
                is_alone = True
            except _UnusableError:
                # Its message is known and refused; the others use another connection.
                pass
            except Exception as error:  # noqa: BLE001 - one message must not hold up the others
                if is_alone:
                    result.refuse(left[0], error)
                is_alone = True
            until = min(until, time.monotonic() + _TROUBLE_SECONDS)

    def is_unreachable(self, error: BaseException) -> bool:
        """Whether an error of the broker concerns all messages."""
        return is_unreachable(error, self._app.connection_for_write().get_transport_cls())

    def explain(self, error: BaseException) -> str:
        """Return the text of the error for an unreachable broker."""
        error = reason_of(error)
        if isinstance(error, ImportError):
            return f"no driver for this broker ({error}): pip install 'celery-taskdb[redis]'"
        where = mask_url(self._app.connection_for_write().as_uri(include_password=True))
        return (
            f"no answer from the broker {where} ({spelled(error)}): the tasks are "
            "kept and will be published later; check TASKDB_BROKER_URL and that the server runs"
        )

    def _try(self, messages: Sequence[Message], result: BatchResult) -> None:
        """Send over a connection; retry over a new one if an idle one had failed."""
        was_idle = self._connections.has_idle
        try:
            self._over_a_connection(messages, result)
        except _LostError as error:
            self._connections.cut_idle()
            if error.is_for_all:
                raise BrokerUnreachable(self.explain(error.reason)) from error.reason
            if not was_idle:
                raise
            self._try(result.left(messages), result)

    def _reach(self, lost: _LostError) -> None:
        """Raise BrokerUnreachable unless a new connection can be opened."""
        self._connections.cut_idle()
        try:
            with self._connections.producer() as producer:
                _ = producer.channel
        except Exception as error:  # noqa: BLE001 - any error here concerns all messages
            raise BrokerUnreachable(self.explain(error)) from lost.reason

    def _over_a_connection(self, messages: Sequence[Message], result: BatchResult) -> None:
        with self._connections.producer() as producer:
            try:
                _ = producer.channel
            except Exception as error:
                # An error that prevents a connection concerns all messages.
                raise _LostError(error, is_for_all=True) from error
            producer.patterns = Patterns(self._app)
            producer.undeclared = result.undeclared
            if producer.supports_batch_publish:
                self._as_a_batch(producer, messages, result)
                return
            for message in messages:
                if self._is_given(producer, message, result):
                    result.take(message)
                elif producer.is_speaking and not producer.is_remembering:
                    # A channel that an error has closed cannot be used again.
                    raise _UnusableError

    def _as_a_batch(self, producer: Any, messages: Sequence[Message], result: BatchResult) -> None:
        try:
            with producer.batch(max_size=_UNFLUSHED):
                given = [one for one in messages if self._is_given(producer, one, result)]
        except _LostError:
            raise
        except Exception as error:
            if self.is_unreachable(error):
                raise self._lost(error) from error
            raise
        for message in given:
            result.take(message)

    def _is_given(self, producer: Any, message: Message, result: BatchResult) -> bool:
        """Pass a message to the producer; returns False if it cannot be made or is refused."""
        producer.begin()
        try:
            self._send_one(producer, message)
        except (Exception, SystemExit) as error:
            if not producer.is_speaking:
                # A router may raise any error. But SystemExit in the main thread may be a signal.
                if isinstance(error, SystemExit) and _is_main_thread():
                    raise
            elif isinstance(error, SystemExit | BatchPublishError):
                raise
            elif self.is_unreachable(error) and not producer.is_beyond_frame:
                raise self._lost(error) from error
            elif producer.declaring is not None:
                result.undeclared[producer.declaring] = error
            result.refuse(message, error)
            return False
        return True

    def _lost(self, error: Exception) -> _LostError:
        return _LostError(error, is_for_all=is_timeout(error) or is_answer(error))


class _LostError(Exception):
    """A connection failed; `is_for_all` if other messages would fail as well."""

    def __init__(self, reason: Exception, *, is_for_all: bool) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.is_for_all = is_for_all


class _UnusableError(Exception):
    """A message was refused, and its connection cannot be used any more."""


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
