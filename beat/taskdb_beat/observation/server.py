"""A small HTTP server: a few pages that are made in this process, each in a bounded time."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from taskdb.errors import SettingsError
from taskdb.logger import get_logger
from taskdb.settings.location import Address

log = get_logger("taskdb.http")

_AT_ONCE = 16
"""The most requests that are served at the same time. A further one gets status 503."""
_SILENCE_SECONDS = 5.0
"""A connection that sends or takes nothing for this long is closed."""
_WORTH_PACKING = 1_400
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT

    @classmethod
    def of(cls, status: HTTPStatus, *lines: str) -> Answer:
        """Create a response of text lines."""
        return cls(status, "".join(f"{line}\n" for line in lines).encode())


Page = Callable[[str], Answer]
"""Makes the response to a request with this `Accept` header."""


class Server:
    """Serves pages from threads of its own, from `start` to `stop`."""

    def __init__(self, address: Address, pages: Mapping[str, Page]) -> None:
        """Take the port. Raises SettingsError if it is not available."""
        handler = type("_PageHandler", (_Handler,), {"pages": dict(pages)})
        try:
            self._server = _BoundedServer(address, handler)
        except OSError as error:
            raise SettingsError(
                f"cannot serve HTTP on {address} ({error.strerror or error}): choose another port "
                "with --http or TASKDB_HTTP, or end who has it"
            ) from None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port in use, also if any port was allowed."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Start to serve."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="taskdb-http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests, and release the port."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _BoundedServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: Address, handler: Any) -> None:
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        super().__init__((address.host, address.port), handler)

    def server_bind(self) -> None:
        # Without the base class's lookup of this host's name, which has no time limit.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            _refuse(request)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: a broken connection is a matter of the caller."""


class _Handler(BaseHTTPRequestHandler):
    pages: Mapping[str, Page]
    timeout = _SILENCE_SECONDS

    def do_GET(self) -> None:
        page = self.pages.get(self.path.partition("?")[0])
        if page is None:
            known = ", ".join(self.pages)
            self._send(Answer.of(HTTPStatus.NOT_FOUND, f"there is no such page; there are {known}"))
            return
        try:
            answer = page(self.headers.get("Accept", ""))
        except Exception:
            # The caller gets status 500, and the server continues.
            log.exception("http.failed", path=self.path.partition("?")[0])
            answer = Answer.of(HTTPStatus.INTERNAL_SERVER_ERROR, "broken: see the log")
        self._send(answer)

    do_HEAD = do_GET  # noqa: N815 - the name is the library's

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - the library's signature
        """Send the library's own refusals (a method, a header too long) in this server's form."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self._send(Answer.of(status, status.phrase))

    def version_string(self) -> str:
        """Return no version: callers need not know the library."""
        return "taskdb"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the library's signature
        """Do nothing: a log of every scrape would hide useful logs."""

    def _send(self, answer: Answer) -> None:
        body = answer.body
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        headers = getattr(self, "headers", None)
        if len(body) > _WORTH_PACKING and "gzip" in ((headers or {}).get("Accept-Encoding") or ""):
            body = gzip.compress(body, compresslevel=1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _refuse(request: socket.socket) -> None:
    request.settimeout(0.2)
    try:
        request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n")
    except OSError:
        return
