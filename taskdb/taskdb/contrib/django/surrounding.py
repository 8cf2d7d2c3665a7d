"""Surrounds every body in a worker of a Django project: keeps connections usable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from asgiref.sync import sync_to_async
from django.db import connections, reset_queries

from taskdb.types.context import TaskContext
from taskdb.types.registry import default_registry


@contextmanager
def sound_connections(ctx: TaskContext) -> Iterator[None]:
    """Close connections that are dead or past their age before and after a body, as Django does.

    An open transaction is not touched. The ORM of an `async def` body runs in a thread of
    asgiref; its connections are closed as well.
    """
    task_type = default_registry.find(ctx.type)
    is_async = task_type is not None and task_type.is_async
    reset_queries()
    _close_old(is_async=is_async)
    try:
        yield
    finally:
        _close_old(is_async=is_async)


def _close_old(*, is_async: bool) -> None:
    close_old_connections_at_rest()
    if is_async:
        asyncio.run(_close_old_of_coroutines())


async def _close_old_of_coroutines() -> None:
    await sync_to_async(close_old_connections_at_rest, thread_sensitive=True)()


def close_old_connections_at_rest() -> None:
    """Close them as Django does, but not in a test's transaction, which that would end."""
    for wrapper in connections.all(initialized_only=True):
        if not wrapper.in_atomic_block:
            wrapper.close_if_unusable_or_obsolete()
