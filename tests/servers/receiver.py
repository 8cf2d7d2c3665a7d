"""A receiver of webhooks: a real HTTP server of this process that answers as a test tells it."""

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.servers.server import HOST, free_port


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What to answer. ``drip`` writes the body a byte at a time until the other side gives up."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    drip: bool = False


class Receiver:
    """Keeps its port over ``stop`` and ``start``; use it as a context manager.

    ``answer`` decides about each request; it may block, and so be slow. ``received`` has all that
    came, ``taken`` those that were answered with 2xx.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self.answer: Callable[[Received], Answer] = lambda _: Answer()
        self.received: list[Received] = []
        self.taken: list[Received] = []
        self._tls = tls
        self._server: ThreadingHTTPServer | None = None
        self._ending = threading.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}/hook"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        assert self._server is None, "the receiver runs already"
        self._ending.clear()
        server = _Server((HOST, self.port), _handler(self))
        if self._tls:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True)
        self._server = server
        threading.Thread(
            target=server.serve_forever, args=[0.02], name="receiver", daemon=True
        ).start()

    def stop(self) -> None:
        """Refuse connections and cut the open ones."""
        server, self._server = self._server, None
        if server is not None:
            self._ending.set()
            server.shutdown()
            server.server_close()

    def hold(self, seconds: float) -> None:
        """For an ``answer`` that is slow: wait this long, or until the receiver is stopped."""
        self._ending.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self.lines: set[Any] = set()
        super().__init__(*arguments)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up, or a handshake that failed, is what tests are about."""

    def process_request(self, request: Any, client_address: Any) -> None:
        self.lines.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.lines.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for line in list(self.lines):
            self.shutdown_request(line)


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            request = Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            receiver.received.append(request)
            answer = receiver.answer(request)
            if 200 <= answer.status < 300:
                receiver.taken.append(request)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            if answer.drip:
                for number in range(len(answer.body)):
                    self.wfile.write(answer.body[number : number + 1])
                    receiver.hold(0.05)
            else:
                self.wfile.write(answer.body)

        def do_GET(self) -> None:
            """Where a redirect would be followed to."""
            receiver.received.append(Received(self.path, {}, b""))
            self.send_error(404)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    return Handler
