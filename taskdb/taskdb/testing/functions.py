"""The module functions: those of the rehearsal that is on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskdb.model.entity import TaskEntity
from taskdb.testing.clock import RehearsalClock
from taskdb.testing.expectation import ANYTHING
from taskdb.testing.rehearsal import RUN_LIMIT, Drained, current


def run_task(type: str | Callable[..., Any], input: Any = None, **options: Any) -> TaskEntity:
    """`Rehearsal.run_task` of the one that is on."""
    return current().run_task(type, input, **options)


async def run_task_async(
    type: str | Callable[..., Any], input: Any = None, **options: Any
) -> TaskEntity:
    """`Rehearsal.run_task_async` of the one that is on."""
    return await current().run_task_async(type, input, **options)


def drain(*, retries: bool = False, limit: int = RUN_LIMIT) -> Drained:
    """`Rehearsal.drain` of the one that is on."""
    return current().drain(retries=retries, limit=limit)


async def drain_async(*, retries: bool = False, limit: int = RUN_LIMIT) -> Drained:
    """`Rehearsal.drain_async` of the one that is on."""
    return await current().drain_async(retries=retries, limit=limit)


def submitted(
    type: str | Callable[..., Any] | None = None, input: Any = ANYTHING, **criteria: Any
) -> list[TaskEntity]:
    """`Rehearsal.submitted` of the one that is on."""
    return current().submitted(type, input, **criteria)


def assert_submitted(
    type: str | Callable[..., Any],
    input: Any = ANYTHING,
    *,
    count: int | None = None,
    **criteria: Any,
) -> list[TaskEntity]:
    """`Rehearsal.assert_submitted` of the one that is on."""
    return current().assert_submitted(type, input, count=count, **criteria)


def clock() -> RehearsalClock:
    """The clock of the rehearsal that is on."""
    return current().clock
