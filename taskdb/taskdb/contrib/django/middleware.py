"""Middleware: every task that a request submits is recorded with its user, id and address."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.db import connections
from django.utils.decorators import sync_and_async_middleware

from taskdb.contrib.django.configuration import option
from taskdb.origin import submitting_as

_ID_LIMIT = 200
_IDS_OF_OTHERS = ("id", "request_id", "correlation_id")
"""Attributes in which other middleware keeps the id that it gave a request."""


@sync_and_async_middleware
def record_submitter(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Name it behind Django's AuthenticationMiddleware or before it: the user is asked for late.

    An `X-Request-ID` is taken over, else an id is made. The address is that of the peer;
    `TASKDB['FORWARDED_ADDRESSES']` says how many proxies of your own append to X-Forwarded-For.
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
        created_ip=_address(request),
    )


def _user(request: Any) -> str | None:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    return str(user.get_username())


def _user_of_coroutine(request: Any) -> str | None:
    """The submit of a coroutine asks in some thread: what that opens nobody else would close."""
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
            return str(found)
    given = request.headers.get("X-Request-ID", "").strip()
    is_sound = given.isprintable() and 0 < len(given) <= _ID_LIMIT
    return given if is_sound else uuid.uuid4().hex


def _address(request: Any) -> str | None:
    """Of what stands in X-Forwarded-For only what a proxy of ours has written can be believed."""
    proxies = option("FORWARDED_ADDRESSES", default=0)
    peer = request.META.get("REMOTE_ADDR")
    if proxies:
        passed_on = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]
        if len(passed_on) >= proxies:
            return _plain(passed_on[-proxies]) or _plain(peer)
    return _plain(peer)


def _plain(address: str | None) -> str | None:
    """An address without its port; None for what is none (a Unix socket, nonsense)."""
    text = (address or "").strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
