"""The task types of a cell: short bodies that note when they begin and how they end."""

from __future__ import annotations

import os
import time
from typing import Any

from tests.chaos.hold import hold_in_body
from tests.chaos.journal import folder, note

from taskdb import Retry, Sequence, TaskContext, task

OPEN = "open"
"""The file that lets blocking bodies go."""
PAUSE_SECONDS = 1.5
"""The pause before a retry: time enough to break something in it."""

_again = Retry(max_attempts=3, backoff=0.2, jitter=0)
_slowly = Retry(max_attempts=3, backoff=PAUSE_SECONDS, jitter=0)


def begin(ctx: TaskContext) -> None:
    note("begin", ctx.task_id, ctx.attempt, ctx.type, os.getpid())
    hold_in_body(ctx.type)


def end(ctx: TaskContext, value: Any) -> dict[str, Any]:
    """The result names the attempt, so that a row can be held against the run it speaks of."""
    note("end", ctx.task_id, ctx.attempt)
    return {"attempt": ctx.attempt, "value": value}


@task("chaos.plain", retry=_again)
def plain(ctx: TaskContext, number: int) -> Any:
    begin(ctx)
    return end(ctx, number)


@task("chaos.later", retry=_again)
def later(ctx: TaskContext, number: int) -> Any:
    begin(ctx)
    return end(ctx, number)


@task("chaos.fired", retry=_again)
def fired(ctx: TaskContext, number: int) -> Any:
    """What the schedule of a cell makes, once."""
    begin(ctx)
    return end(ctx, number)


@task("chaos.retries", retry=_slowly)
def retries(ctx: TaskContext, number: int) -> Any:
    """Fail the first time."""
    begin(ctx)
    if ctx.attempt == 1:
        note("raise", ctx.task_id, ctx.attempt)
        raise ValueError(number)
    return end(ctx, number)


@task("chaos.blocks", retry=_again)
def blocks(ctx: TaskContext, number: int) -> Any:
    """Occupy a child until the cell is opened."""
    begin(ctx)
    while not (folder() / OPEN).exists():
        time.sleep(0.02)
    return end(ctx, number)


@task("chaos.part", retry=_again)
def part(ctx: TaskContext, number: int) -> Any:
    begin(ctx)
    return end(ctx, number)


@task("chaos.joins", retry=_again)
def joins(ctx: TaskContext, total: int, succeeded: int, failed: int, canceled: int) -> Any:
    begin(ctx)
    return end(ctx, [total, succeeded, failed, canceled])


@task("chaos.step", retry=_again)
def step(ctx: TaskContext, number: int = 0, value: int = 0, attempt: int = 0) -> Any:
    """Take the payload of the sequence (a number), or what the step before returned."""
    begin(ctx)
    return end(ctx, number + value + 1)


STEPS = 3
SEQUENCE = Sequence("chaos.steps", [step] * STEPS)
