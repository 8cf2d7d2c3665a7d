"""Two servers that never answer: one takes the call, the other lets it ring."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.servers.server import HOST, free_port

_MOST_FILLERS = 64


class Blackhole:
    """A loopback listener that never answers; use it as a context manager.

    It accepts every connection and reads nothing. With ``accepting=False`` even the connecting
    hangs, because its backlog is full, as with a host behind a firewall that drops packets.
    """

    def __init__(self, *, accepting: bool = True) -> None:
        self.host = HOST
        self.port = free_port()
        self._accepting = accepting
        self._listener = socket.socket()
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="blackhole", daemon=True)

    def __enter__(self) -> Self:
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self.host, self.port))
        self._listener.listen(100 if self._accepting else 0)
        if self._accepting:
            self._thread.start()
        else:
            self._fill_backlog()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread; close alone would not
        self._listener.close()
        if self._thread.is_alive():
            self._thread.join()
        for line in self._held:
            line.close()

    @property
    def calls(self) -> int:
        """How many connections it has accepted."""
        return len(self._held) if self._accepting else 0

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self._held.append(line)

    def _fill_backlog(self) -> None:
        for _ in range(_MOST_FILLERS):
            filler = socket.socket()
            filler.settimeout(0.2)
            self._held.append(filler)
            try:
                filler.connect((self.host, self.port))
            except TimeoutError:
                return
        raise AssertionError("this system never lets a backlog be full")
