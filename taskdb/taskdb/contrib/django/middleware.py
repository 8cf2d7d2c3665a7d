"""Middleware that records the user, id and address of a request with every submitted task."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.db import connections
from django.utils.decorators import sync_and_async_middleware

from taskdb.client.default import default_taskdb
from taskdb.model.principal.origin import submitting_as
from taskdb.model.principal.web_request import REQUEST_ID, request_id_of

_IDS_OF_OTHERS = ("id", "request_id", "correlation_id")
"""Attributes in which other middleware stores the id of a request."""


@sync_and_async_middleware
def record_submitter(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Record the submitter. It may stand before AuthenticationMiddleware: a submit reads the user.

    An `X-Request-ID` is used, else an id is made. The address is that of the peer, or the
    one that a proxy of the setting `trusted_proxies` passes on.
    """
    if iscoroutinefunction(get_response):
        ask: Callable[[Any], Awaitable[Any]] = get_response

        async def record_async(request: Any) -> Any:
            with _submitting(request, _user_of_coroutine):
                return await ask(request)

        return record_async

    def record(request: Any) -> Any:
        with _submitting(request, _user):
            return get_response(request)

    return record


def _submitting(request: Any, user: Callable[[Any], str | None]) -> Any:
    return submitting_as(
        request_id=_request_id(request),
        created_by=partial(user, request),
        created_ip=partial(_address, request),
    )


def _user(request: Any) -> str | None:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    return str(user.get_username())


def _user_of_coroutine(request: Any) -> str | None:
    """Return the user; close connections that this opens, as no other code in the thread does."""
    with _closing_what_opens():
        return _user(request)


@contextmanager
def _closing_what_opens() -> Iterator[None]:
    opened = {one.alias for one in connections.all(initialized_only=True) if one.connection}
    try:
        yield
    finally:
        for one in connections.all(initialized_only=True):
            if one.alias not in opened and not one.in_atomic_block:
                one.close()


def _request_id(request: Any) -> str:
    for name in _IDS_OF_OTHERS:
        found = getattr(request, name, None)
        if isinstance(found, str | int | uuid.UUID):
            sound = request_id_of(str(found))
            if sound is not None:
                return sound
    return request_id_of(request.headers.get(REQUEST_ID)) or uuid.uuid4().hex


def _address(request: Any) -> str | None:
    proxies = default_taskdb().settings.proxies
    line = request.headers.get(proxies.header)
    return proxies.client_of(request.META.get("REMOTE_ADDR"), [] if line is None else [line])
