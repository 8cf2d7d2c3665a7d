"""For FastAPI, Starlette and every other ASGI application: who submits is recorded by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from taskdb.origin import submitting_as

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID = b"x-request-id"


class OriginMiddleware:
    """Records the id of the request, the user and the address with every task that is submitted.

    The id is the header X-Request-ID. `user` is called with the ASGI scope by a submit that does
    not say who it is, so after the middlewares and dependencies that know it; it answers text or a
    number, or None. The address is the client's of the scope: that of a proxy, unless the server
    knows whom to trust (uvicorn's `--proxy-headers --forwarded-allow-ips`).
    """

    def __init__(self, app: Application, user: Callable[[Scope], Any] | None = None) -> None:
        self._app = app
        self._user = user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        with submitting_as(
            request_id=_header(scope, _REQUEST_ID),
            created_by=lambda: self._user_of(scope),
            created_ip=str(client[0]) if client else None,
        ):
            await self._app(scope, receive, send)

    def _user_of(self, scope: Scope) -> str | None:
        found = None if self._user is None else self._user(scope)
        return None if found is None else str(found)


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope.get("headers", ()):
        if key == name:
            return bytes(value).decode("latin-1")
    return None
