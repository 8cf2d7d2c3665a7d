"""Task types whose tasks share messages: items that end in every way, side by side."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Reject
from tests.integration.worker_tasks import (
    LONG_SECONDS,
    SOON,
    note,
    run_around,
    twice,
    wait_for_file,
)
from tests.waiting import wait_until

from taskdb import Cancel, Fail, Halt, Snooze, TaskContext, get_task, on_task, task


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(LONG_SECONDS)


def _raise(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


_FIRST: dict[str, Callable[[], None]] = {
    "raise once": _raise(ValueError("not yet")),
    "snooze": _raise(Snooze(SOON)),
    "requeue": _raise(Reject("later", requeue=True)),
    "time up": _raise(SoftTimeLimitExceeded()),
    "exit": lambda: sys.exit(3),
    "no memory": _raise(MemoryError("no room")),
    "kill": _kill,
}
_ALWAYS: dict[str, Callable[[], None]] = {
    "raise": _raise(ValueError("never")),
    "fail": _raise(Fail("enough")),
    "halt": _raise(Halt("look at me")),
    "cancel": _raise(Cancel("not needed")),
}


@task("chunk.item", retry=twice)
def item(ctx: TaskContext, do: str = "return", n: int = 0) -> Any:
    """End as told, the first time or always; report, wait or fan out."""
    note(ctx)
    if ctx.attempt == 1 and do in _FIRST:
        _FIRST[do]()
    if do in _ALWAYS:
        _ALWAYS[do]()
    if do == "report":
        ctx.attributes["n"] = n
        ctx.progress(1, 2, "half")
        wait_until(lambda: get_task(ctx.task_id).status == "PROCESSING")
        ctx.progress(2, 2, "whole")
    if do == "surrounded":
        return run_around.get() == ctx.task_id
    if do == "large":
        return "x" * 5_000
    if do == "fan out":
        ctx.fan_out([{"n": 1}, {"n": 2}], type="chunk.item", chunk_size=2)
    if do == "wait":
        wait_for_file(f"go-{ctx.task_id}")
    if do == "agree":
        wait_for_file(f"go-{ctx.task_id}", lambda: ctx.cancel_requested)
    if do == "ignore" and ctx.attempt == 1:
        time.sleep(LONG_SECONDS)
    return {"n": n, "left": ctx.attempts_left, "position": ctx.position}


@task("chunk.joined")
def joined(ctx: TaskContext) -> list[int]:
    """What a fan-out of items becomes."""
    return [one.result["n"] for one in ctx.results()]


@task("chunk.handled")
def handled(n: int) -> int:
    return n


@on_task("chunk.handled")
def hears(n: int) -> None:
    """Another handler, so that the body alone does not end the task."""


@task("chunk.slow", timeout=1.0)
def slow(ctx: TaskContext, seconds: float) -> str:
    """Sleep the first time."""
    note(ctx)
    if ctx.attempt == 1:
        time.sleep(seconds)
    return "in time"
