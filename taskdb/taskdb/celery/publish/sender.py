"""Speaking to the broker: which messages it took, which it refuses, and when it is unreachable.

A message that is refused concerns its row alone, whatever raised: a router, a serializer, a queue
of other arguments at the broker, a broker that drops the connection for it. The broker is
unreachable when no connection can be opened, when it takes too long, when it answers that it takes
nothing, and when it drops one connection after another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from kombu.exceptions import BatchPublishError

from taskdb.celery.publish.connection import Lines
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
"""After its first error a queue is tried for so long; the rest of its rows is left to the relay."""
_MOST_LOST = 3
"""Messages in a row for which the broker drops the connection; then it is unreachable."""
_UNFLUSHED = 1_000_000
"""Commands that a batch holds back: it is sent as a whole, by us."""

Message = Sequence[Publication]
"""The rows of one message; several where they are items of a chunk."""
SendOne = Callable[[Any, Message], None]
"""Makes the message of these rows and gives it to a producer."""


@dataclass
class Outcome:
    """What the broker said of each row of a batch; a row that is in neither was not tried."""

    sent: list[Publication] = field(default_factory=list)
    refused: dict[str, tuple[Publication, str]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    undeclared: dict[tuple[str, str], Exception] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """The broker took a message for sure."""
        self.sent.extend(message)
        self.known.update(item.id for item in message)

    def refuse(self, message: Message, error: BaseException) -> None:
        """This message cannot be made, or the broker does not take it."""
        reason = spelled(error)
        for item in message:
            self.refused[item.id] = (item, reason)
            self.known.add(item.id)

    def left(self, messages: Sequence[Message]) -> list[Message]:
        """Those of the messages of which nothing is known yet."""
        return [message for message in messages if message[0].id not in self.known]


class Sender:
    """Sends the messages of one queue over connections of this process."""

    def __init__(self, lines: Lines, send_one: SendOne) -> None:
        self._lines = lines
        self._send_one = send_one

    @property
    def _app(self) -> Celery:
        return self._lines.app

    def send(self, messages: Sequence[Message], outcome: Outcome) -> None:
        """Send messages of one queue; raises BrokerUnreachable.

        All together; one after another from the first error on whose message is not known.
        """
        is_alone, lost, until = False, 0, float("inf")
        while left := outcome.left(messages):
            if time.monotonic() > until:
                return
            try:
                self._try(left[:1] if is_alone else left, outcome)
                lost = 0
            except BrokerUnreachable:
                raise
            except _LostError as error:
                self._reach(error)
                lost += is_alone
                if is_alone:
                    outcome.refuse(left[0], error.reason)
                if lost == _MOST_LOST:
                    raise BrokerUnreachable(self.explain(error.reason)) from error.reason
                is_alone = True
            except _UnusableError:
                # Its message is known and refused; the others have a connection of their own.
                pass
            except Exception as error:  # noqa: BLE001 - one message must not hold up the others
                if is_alone:
                    outcome.refuse(left[0], error)
                is_alone = True
            until = min(until, time.monotonic() + _TROUBLE_SECONDS)

    def is_unreachable(self, error: BaseException) -> bool:
        """Whether an error of speaking to the broker concerns all messages."""
        return is_unreachable(error, self._app.connection_for_write().get_transport_cls())

    def explain(self, error: BaseException) -> str:
        """What to tell a caller of a broker that is unreachable."""
        error = reason_of(error)
        if isinstance(error, ImportError):
            return f"no driver for this broker ({error}): pip install 'celery-taskdb[redis]'"
        where = mask_url(self._app.connection_for_write().as_uri(include_password=True))
        return (
            f"no answer from the broker {where} ({spelled(error)}): the tasks are "
            "kept and will be published later; check TASKDB_BROKER_URL and that the server runs"
        )

    def _try(self, messages: Sequence[Message], outcome: Outcome) -> None:
        """Send over a connection; over a new one where an idle one was dead already."""
        was_idle = self._lines.has_idle
        try:
            self._over_a_line(messages, outcome)
        except _LostError as error:
            self._lines.cut_idle()
            if error.is_for_all:
                raise BrokerUnreachable(self.explain(error.reason)) from error.reason
            if not was_idle:
                raise
            self._try(outcome.left(messages), outcome)

    def _reach(self, lost: _LostError) -> None:
        """Raise BrokerUnreachable unless a new connection can be opened."""
        self._lines.cut_idle()
        try:
            with self._lines.producer() as producer:
                _ = producer.channel
        except Exception as error:  # noqa: BLE001 - nothing that keeps a connection shut is one message's
            raise BrokerUnreachable(self.explain(error)) from lost.reason

    def _over_a_line(self, messages: Sequence[Message], outcome: Outcome) -> None:
        with self._lines.producer() as producer:
            try:
                _ = producer.channel
            except Exception as error:
                # Whatever keeps a connection from being opened keeps all messages.
                raise _LostError(error, is_for_all=True) from error
            producer.patterns = Patterns(self._app)
            producer.undeclared = outcome.undeclared
            if producer.supports_batch_publish:
                self._as_a_batch(producer, messages, outcome)
                return
            for message in messages:
                if self._is_given(producer, message, outcome):
                    outcome.take(message)
                elif producer.is_speaking and not producer.is_remembering:
                    # What is left of a channel that an error has closed cannot be used.
                    raise _UnusableError

    def _as_a_batch(self, producer: Any, messages: Sequence[Message], outcome: Outcome) -> None:
        try:
            with producer.batch(max_size=_UNFLUSHED):
                given = [one for one in messages if self._is_given(producer, one, outcome)]
        except _LostError:
            raise
        except Exception as error:
            if self.is_unreachable(error):
                raise self._lost(error) from error
            raise
        for message in given:
            outcome.take(message)

    def _is_given(self, producer: Any, message: Message, outcome: Outcome) -> bool:
        """Give a message to the producer; whether it could be made, and was not refused at once."""
        producer.begin()
        try:
            self._send_one(producer, message)
        except (Exception, SystemExit) as error:
            if not producer.is_speaking:
                # A router may raise anything; but a signal ends a main thread in any code.
                if isinstance(error, SystemExit) and _is_main_thread():
                    raise
            elif isinstance(error, SystemExit | BatchPublishError):
                raise
            elif self.is_unreachable(error) and not producer.is_beyond_frame:
                raise self._lost(error) from error
            elif producer.declaring is not None:
                outcome.undeclared[producer.declaring] = error
            outcome.refuse(message, error)
            return False
        return True

    def _lost(self, error: Exception) -> _LostError:
        return _LostError(error, is_for_all=is_timeout(error) or is_answer(error))


class _LostError(Exception):
    """A connection broke; `is_for_all` where no other message would fare better."""

    def __init__(self, reason: Exception, *, is_for_all: bool) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.is_for_all = is_for_all


class _UnusableError(Exception):
    """A message was refused in a way that leaves its connection unusable."""


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
