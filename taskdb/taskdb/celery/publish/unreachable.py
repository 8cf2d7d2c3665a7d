"""Whether an error of a publish says that the broker is unreachable, or concerns one message.

Kombu counts errors as those of a connection that have nothing to do with one: `KeyError` on Redis
(a queue or a router that is missing), and on RabbitMQ a header that AMQP cannot spell. What is
unreachable is therefore decided here: an error of the operating system or of a connection, or an
answer of the server that every message would get.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from kombu.exceptions import BatchPublishError, InconsistencyError, OperationalError

from taskdb.redaction.url_mask import mask_urls

_WRAPPERS = (OperationalError, BatchPublishError)
"""Kombu's own; an error of the embedded broker's file is a subclass, and says more."""
_OF_A_MESSAGE = (LookupError, ValueError, TypeError, AttributeError, OperationalError)
"""Never of a connection, whatever a transport lists."""
_FOR_ALL = frozenset(
    {
        "OutOfMemoryError",
        "ReadOnlyError",
        "MasterDownError",
        "ClusterDownError",
        "TryAgainError",
        "BusyLoadingError",
        "AuthenticationError",
        "Blocked",
        "ConnectionForced",
    }
)
"""Answers of a server that concern all messages, by the names that redis-py and amqp give them."""
_FOR_ALL_TEXT = re.compile(r"(?:^|caused error: )(?:MISCONF|NOREPLICAS|BUSY|OOM|READONLY|LOADING) ")
"""The same, where redis-py has no class for them."""
_ANNOTATION = re.compile(r"^Command # \d+ \(.*?\) of pipeline caused error: ", re.DOTALL)
_REASON_CHARACTERS = 500


def reason_of(error: BaseException) -> BaseException:
    """What happened, below the errors in which kombu wraps it."""
    while type(error) in _WRAPPERS and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_unreachable(error: BaseException, transport: Any) -> bool:
    """Whether an error of speaking to the broker concerns all messages.

    `transport` is the kombu transport that spoke, or its class.
    """
    if is_answer(error):
        return True
    error = reason_of(error)
    if isinstance(error, InconsistencyError) or _is_misspelled(error):
        return False
    if isinstance(error, OSError | ImportError):
        return True
    return isinstance(error, transport.connection_errors) and not isinstance(error, _OF_A_MESSAGE)


def is_answer(error: BaseException) -> bool:
    """Whether it is an answer that every message would get; a new connection changes nothing."""
    error = reason_of(error)
    if isinstance(error, OperationalError):
        # The embedded broker's file; what is too long for it is the message's own fault.
        return not isinstance(error.__cause__, sqlite3.DataError)
    names = {one.__name__ for one in type(error).__mro__}
    return bool(names & _FOR_ALL or _FOR_ALL_TEXT.search(str(error)))


def is_timeout(error: BaseException) -> bool:
    """Whether the broker took too long: it may be frozen, which says nothing of a message."""
    error = reason_of(error)
    names = {one.__name__ for one in type(error).__mro__}
    return "TimeoutError" in names or "timed out" in str(error)


def spelled(error: BaseException) -> str:
    """The reason for a log, a row and a person; no message body in it."""
    error = reason_of(error)
    text = _ANNOTATION.sub("", str(error))
    return mask_urls(f"{type(error).__name__}: {text}")[:_REASON_CHARACTERS]


def _is_misspelled(error: BaseException) -> bool:
    """A value that AMQP cannot spell; an error that the server sent names the method."""
    is_frame = type(error).__name__ == "FrameSyntaxError"
    return is_frame and getattr(error, "method_sig", None) is None
