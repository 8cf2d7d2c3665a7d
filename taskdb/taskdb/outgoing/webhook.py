"""Webhooks: a signed POST to a URL, and the meaning of its response."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpcore

from taskdb.errors import DeliveryFailed, TargetRefused
from taskdb.model.message import Message
from taskdb.outgoing.connection import Deadline, GuardedBackend
from taskdb.outgoing.contract import Limits
from taskdb.outgoing.signing import may_be_id, signed_headers
from taskdb.outgoing.target import Guard

_GONE = 410
_LATER = frozenset({429, 503})
_LONGEST_PAUSE = timedelta(days=1)


class Webhook:
    """Posts messages to one URL. It follows no redirect and uses no proxy of the environment."""

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        guard: Guard,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Raises TargetRefused for a URL that the guard does not allow."""
        self._target = guard.target(url)
        self._secrets = tuple(secrets)
        self._limits = limits
        self._deadline = Deadline()
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=1,
            keepalive_expiry=30.0,
            network_backend=GuardedBackend(guard, limits, self._deadline),
        )

    def send(self, message: Message) -> None:
        body = message.body
        headers = self._headers(message, body)
        self._deadline.begin(self._limits.total_seconds)
        try:
            with self._pool.stream("POST", self._url(), headers=headers, content=body) as answer:
                self._drain(answer.iter_stream())
                status, named = answer.status, answer.headers
        except httpcore.ProtocolError:
            # The text of this error repeats received data, which is not trusted.
            reason = "it closed the connection, or does not speak HTTP"
            raise DeliveryFailed(f"{self._target.host} gave no answer ({reason})") from None
        except (httpcore.NetworkError, httpcore.TimeoutException) as error:
            reason = str(error) or type(error).__name__
            raise DeliveryFailed(f"{self._target.host} gave no answer ({reason})") from None
        except TargetRefused as error:
            # It was allowed before: its name resolves differently now, and may change back.
            raise DeliveryFailed(str(error)) from None
        judge(status, _retry_after(named))

    def close(self) -> None:
        self._pool.close()

    def _url(self) -> httpcore.URL:
        target = self._target
        return httpcore.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        )

    def _headers(self, message: Message, body: bytes) -> list[tuple[bytes, bytes]]:
        if not may_be_id(message.id):
            raise DeliveryFailed("the id of the message cannot stand in a header", is_final=True)
        named = {
            "host": self._target.authority,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": "celery-taskdb",
            **signed_headers(self._secrets, message.id, int(time.time()), body),
        }
        return [(name.encode(), value.encode()) for name, value in named.items()]

    def _drain(self, chunks: Iterable[bytes]) -> None:
        """Read the rest of a response, so that the connection can be used again.

        The status is known already, so a long, slow or broken response costs only the connection.
        """
        size = 0
        with suppress(httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
            for chunk in chunks:
                size += len(chunk)
                if size > self._limits.answer_bytes:
                    return


def judge(status: int, retry_after: timedelta | None) -> None:
    """Return for a status of success; raises DeliveryFailed for every other one.

    The error does not contain the body of the response, which is not trusted.
    """
    if 200 <= status < 300:  # noqa: PLR2004 - the class of success
        return
    if status == _GONE:
        raise DeliveryFailed("the receiver answered 410: it is gone for good", is_final=True)
    if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
        raise DeliveryFailed(f"the receiver answered {status}: redirects are not followed")
    pause = retry_after if status in _LATER else None
    raise DeliveryFailed(f"the receiver answered {status}", retry_after=pause)


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> timedelta | None:
    named = {name.lower(): value.decode("latin-1").strip() for name, value in headers}
    value = named.get(b"retry-after", "")
    if value.isascii() and value.isdigit():
        return min(timedelta(seconds=int(value[:9])), _LONGEST_PAUSE)
    try:
        pause = parsedate_to_datetime(value) - datetime.now(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(pause, timedelta()), _LONGEST_PAUSE)
