"""A TCP line that a test can cut, freeze and refuse."""

import select
import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.servers.server import HOST, free_port

_POLL_SECONDS = 0.02
_CHUNK_BYTES = 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class TcpProxy:
    """Forwards a loopback port to ``host:port``; use it as a context manager.

    The port stays the same over ``refuse`` and ``restore``. Every control returns when it holds.
    """

    def __init__(self, target_port: int, target_host: str = HOST) -> None:
        self.host = HOST
        self.port = free_port()
        self._target = (target_host, target_port)
        self._lines: list[_Line] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.restore()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self.cut()

    @property
    def lines(self) -> int:
        """How many lines are open through it."""
        return sum(line.is_open for line in self._lines)

    def cut(self) -> None:
        """Reset all open lines, both ends; new ones are still accepted."""
        lines, self._lines = self._lines, []
        for line in lines:
            line.cut()

    def freeze(self) -> None:
        """Forward nothing until ``thaw``, and keep every line open; new ones are accepted."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Forward again, beginning with what was held back."""
        self._flowing.set()

    def refuse(self) -> None:
        """Refuse new connections until ``restore``; open lines stay, unless they are cut."""
        listener, self._listener = self._listener, None
        if listener is None or self._thread is None:
            return
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread; close alone would not
        self._thread.join()
        listener.close()

    def restore(self) -> None:
        """Accept connections on the same port (again)."""
        assert self._listener is None, "the proxy accepts connections already"
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self.host, self.port))
        self._listener.listen(100)
        self._thread = threading.Thread(
            target=self._accept, args=[self._listener], name="tcp-proxy", daemon=True
        )
        self._thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                _reset(near)
                continue
            line = _Line(near, far, self._flowing)
            self._lines.append(line)  # first of all: who got an answer must be cut by a cut
            line.start()


class _Line:
    """One connection through the proxy: two sockets, and a thread for each direction."""

    def __init__(self, near: socket.socket, far: socket.socket, flowing: threading.Event) -> None:
        self._sockets = (near, far)
        self._flowing = flowing
        self._over = threading.Event()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._pump, args=ends, name="tcp-proxy-line", daemon=True)
            for ends in ((near, far), (far, near))
        ]
        self._closing = threading.Thread(target=self._close, name="tcp-proxy-line", daemon=True)
        for end in self._sockets:
            end.setblocking(False)  # noqa: FBT003 - the name of the method says it

    def start(self) -> None:
        for thread in (*self._threads, self._closing):
            thread.start()

    @property
    def is_open(self) -> bool:
        return not self._over.is_set()

    def cut(self) -> None:
        for end in self._sockets:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._over.set()
        self._closed.wait()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Forward one direction until its source ends, then end its sink likewise."""
        try:
            while chunk := self._read(source):
                self._write(sink, chunk)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._over.set()  # one end is gone: so is the line

    def _read(self, source: socket.socket) -> bytes:
        self._wait_for(source, select.POLLIN)
        chunk = source.recv(_CHUNK_BYTES)
        self._wait_until_flowing()
        return chunk

    def _write(self, sink: socket.socket, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            self._wait_for(sink, select.POLLOUT)
            rest = rest[sink.send(rest) :]

    def _wait_for(self, end: socket.socket, event: int) -> None:
        poll = select.poll()
        poll.register(end, event)
        while not poll.poll(_POLL_SECONDS * 1000):
            self._check_open()
        self._wait_until_flowing()

    def _wait_until_flowing(self) -> None:
        while not self._flowing.wait(_POLL_SECONDS):
            self._check_open()
        self._check_open()

    def _check_open(self) -> None:
        if self._over.is_set():
            raise ConnectionAbortedError

    def _close(self) -> None:
        for thread in self._threads:
            thread.join()
        self._over.set()
        for end in self._sockets:
            end.close()
        self._closed.set()


def _reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    end.close()
