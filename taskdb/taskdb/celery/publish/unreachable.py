"""Decides whether a publish error means an unreachable broker, or concerns one message.

Kombu lists errors as connection errors that are not: `KeyError` on Redis (a missing queue or
router), and on RabbitMQ a header that AMQP cannot encode. So this module decides: the broker is
unreachable after an error of the operating system or of a connection, or after a reply of the
server that every message would get.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from kombu.exceptions import BatchPublishError, InconsistencyError, OperationalError

from taskdb.redaction.url_mask import mask_urls

_WRAPPERS = (OperationalError, BatchPublishError)
"""Kombu's own wrappers; an error of the embedded broker's file is a subclass with more detail."""
_OF_A_MESSAGE = (LookupError, ValueError, TypeError, AttributeError, OperationalError)
"""Errors that never mean a failed connection, even if a transport lists them."""
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
"""Replies of a server that concern all messages, by their names in redis-py and amqp."""
_FOR_ALL_TEXT = re.compile(r"(?:^|caused error: )(?:MISCONF|NOREPLICAS|BUSY|OOM|READONLY|LOADING) ")
"""The same replies, where redis-py has no class for them."""
_ANNOTATION = re.compile(r"^Command # \d+ \(.*?\) of pipeline caused error: ", re.DOTALL)
_REASON_CHARACTERS = 500


def reason_of(error: BaseException) -> BaseException:
    """Return the original error inside kombu's wrappers."""
    while type(error) in _WRAPPERS and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_unreachable(error: BaseException, transport: Any) -> bool:
    """Whether an error of the broker concerns all messages.

    `transport` is the kombu transport that raised it, or its class.
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
    """Whether every message would get this reply; a new connection changes nothing."""
    error = reason_of(error)
    if isinstance(error, OperationalError):
        # From the embedded broker's file; a body too long for it is the message's own fault.
        return not isinstance(error.__cause__, sqlite3.DataError)
    names = {one.__name__ for one in type(error).__mro__}
    return bool(names & _FOR_ALL or _FOR_ALL_TEXT.search(str(error)))


def is_timeout(error: BaseException) -> bool:
    """Whether the broker took too long: it may be frozen; the message may be valid."""
    error = reason_of(error)
    names = {one.__name__ for one in type(error).__mro__}
    return "TimeoutError" in names or "timed out" in str(error)


def spelled(error: BaseException) -> str:
    """Return the reason for a log, a row and a person, without any message body."""
    error = reason_of(error)
    text = _ANNOTATION.sub("", str(error))
    return mask_urls(f"{type(error).__name__}: {text}")[:_REASON_CHARACTERS]


def _is_misspelled(error: BaseException) -> bool:
    """Whether AMQP cannot encode a value; an error from the server names the method instead."""
    is_frame = type(error).__name__ == "FrameSyntaxError"
    return is_frame and getattr(error, "method_sig", None) is None
