"""Records the submitter in FastAPI, Starlette and every other ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from taskdb.client.default import default_taskdb
from taskdb.client.taskdb import TaskDB
from taskdb.model.principal.origin import submitting_as
from taskdb.model.principal.web_request import HEADERS, REQUEST_ID, TrustedProxies, request_id_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class OriginMiddleware:
    """Records the id of the request, the user and the address with every submitted task.

    The id is the header X-Request-ID. A submit that does not name the user calls `user` with the
    ASGI scope, so after the middlewares and dependencies that know the user. It returns text, a
    number or None. The address is that of the scope's client, or the one that a proxy of the
    setting `trusted_proxies` passes on. The client `taskdb` has this setting, by default the client
    of the environment.
    """

    def __init__(
        self,
        app: Application,
        user: Callable[[Scope], Any] | None = None,
        taskdb: TaskDB | None = None,
    ) -> None:
        self._app = app
        self._user = user
        self._taskdb = taskdb

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        with submitting_as(
            request_id=request_id_of(next(_headers(scope, REQUEST_ID), None)),
            created_by=lambda: self._user_of(scope),
            created_ip=lambda: self._address_of(scope),
        ):
            await self._app(scope, receive, send)

    def _user_of(self, scope: Scope) -> str | None:
        found = None if self._user is None else self._user(scope)
        return None if found is None else str(found)

    def _address_of(self, scope: Scope) -> str | None:
        client = scope.get("client")
        peer = str(client[0]) if client else None
        if not any(next(_headers(scope, name), None) for name in HEADERS):
            return TrustedProxies().client_of(peer, [])
        taskdb = default_taskdb() if self._taskdb is None else self._taskdb
        proxies = taskdb.settings.proxies
        return proxies.client_of(peer, list(_headers(scope, proxies.header)))


def _headers(scope: Scope, name: str) -> Iterator[str]:
    """Yield every value of a header, in order."""
    wanted = name.lower().encode()
    for key, value in scope.get("headers", ()):
        if bytes(key).lower() == wanted:
            yield bytes(value).decode("latin-1")
