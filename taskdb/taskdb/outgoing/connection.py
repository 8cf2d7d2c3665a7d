"""Connections that reach only addresses that a guard allows, with a time limit on every step."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore

from taskdb.outgoing.contract import Limits
from taskdb.outgoing.target import Guard


class Deadline:
    """The time at which the current attempt must end."""

    def __init__(self) -> None:
        self._until = 0.0

    def begin(self, seconds: float) -> None:
        """Start another attempt with this many seconds."""
        self._until = time.monotonic() + seconds

    def left(self, kind: type[Exception]) -> float:
        """Return the seconds that are left; raises an error of this kind if there are none."""
        seconds = self._until - time.monotonic()
        if seconds <= 0:
            raise kind("the time for one attempt is over")
        return seconds


class GuardedBackend(httpcore.NetworkBackend):
    """Connects only to addresses from the guard; TLS is verified by the name."""

    def __init__(self, guard: Guard, limits: Limits, deadline: Deadline) -> None:
        self._guard = guard
        self._limits = limits
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline replaces it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        over = time.monotonic() + self._limits.connect_seconds
        addresses = self._guard.addresses(host, port, self._seconds(over))
        for number, address in enumerate(addresses, 1):
            try:
                stream = self._plain.connect_tcp(
                    address, port, self._seconds(over), local_address, socket_options
                )
            except httpcore.ConnectError:
                if number == len(addresses):
                    raise
            else:
                return _TimedStream(stream, self._deadline)
        raise httpcore.ConnectError(f"{host} has no address")

    def _seconds(self, over: float) -> float:
        seconds = min(over - time.monotonic(), self._deadline.left(httpcore.ConnectTimeout))
        if seconds <= 0:
            raise httpcore.ConnectTimeout("no connection in time")
        return seconds


class _TimedStream(httpcore.NetworkStream):
    """A stream whose reads and writes share one deadline: a slow drip cannot prolong it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - as above
        return self._stream.read(max_bytes, self._deadline.left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - as above
        self._stream.write(buffer, self._deadline.left(httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - as above
    ) -> httpcore.NetworkStream:
        seconds = self._deadline.left(httpcore.ConnectTimeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, seconds)
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
