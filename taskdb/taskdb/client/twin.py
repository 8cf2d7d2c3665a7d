"""Coroutine twins of blocking methods, with the same parameters and the same result.

Each twin is made from the method, so signature, types and docstring are written once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from taskdb.client.submission.transaction import in_submitting_thread, wrong_session

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


def in_thread(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Return a coroutine method that runs this one in a thread."""

    @wraps(method)
    async def twin(self: S, /, *arguments: P.args, **keywords: P.kwargs) -> T:
        return await asyncio.to_thread(method, self, *arguments, **keywords)

    return _named(twin, method)


def on_loop(
    submit: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Return a coroutine method that submits in the transaction of an asynchronous `session`.

    The session stays on its own loop. Without a session the method runs in a thread.
    """

    @wraps(submit)
    async def twin(self: S, /, *arguments: P.args, **keywords: P.kwargs) -> T:
        session: Any = keywords.pop("session", None)
        if session is None:
            return await in_submitting_thread(lambda: submit(self, *arguments, **keywords))
        if not hasattr(session, "run_sync"):
            raise wrong_session(session, "an AsyncSession or AsyncConnection")
        joined: T = await session.run_sync(
            lambda own: submit(self, *arguments, **{**keywords, "session": own})
        )
        return joined

    return _named(twin, submit)


def _named(twin: F, method: Callable[..., Any]) -> F:
    twin.__name__ = f"{method.__name__}_async"
    twin.__qualname__ = f"{method.__qualname__}_async"
    return twin
