"""Task types that end in every way a run can end; the workers of the tests import them.

Set by the environment: the folder in which each run leaves a line, and in which tests leave files
that let a body go on.
"""

import asyncio
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery import current_task
from celery.exceptions import Ignore, Reject
from celery.exceptions import Retry as CeleryRetry
from pydantic import BaseModel

from taskdb import Cancel, Fail, Halt, Retry, Snooze, TaskContext, around, task

FOLDER = "WORKER_TASKS_FOLDER"
SOON = 0.05
LONG_SECONDS = 60.0

again = Retry(max_attempts=3, backoff=SOON, jitter=0)
twice = Retry(max_attempts=2, backoff=SOON, jitter=0)


def folder() -> Path:
    return Path(os.environ.get(FOLDER, "."))


def note(ctx: TaskContext) -> None:
    """Leave a line for this run; a write that short is atomic."""
    file = os.open(folder() / "runs.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{ctx.task_id} {ctx.attempt} {os.getpid()} {os.getppid()}\n".encode())
    finally:
        os.close(file)


def wait_for_file(name: str, stop: Callable[[], bool] = lambda: False) -> None:
    deadline = time.monotonic() + LONG_SECONDS
    while not (folder() / name).exists() and time.monotonic() < deadline and not stop():
        time.sleep(0.02)


# --- what surrounds each of them ------------------------------------------------------------------

run_around = ContextVar("run_around", default="")


@around
@contextmanager
def know_the_run(ctx: TaskContext) -> Iterator[None]:
    if ctx.type == "ends.surrounding_raises" and ctx.attempt == 1:
        raise ConnectionError("nothing to open")
    if ctx.type == "ends.forks_in_a_surrounding":
        pid = os.fork()
        if pid:
            ctx.attributes["code"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        else:
            ctx.attributes["copy"] = True
    token = run_around.set(ctx.task_id)
    yield
    run_around.reset(token)


@task("ends.surrounded")
async def surrounded(ctx: TaskContext) -> bool:
    return run_around.get() == ctx.task_id


@task("ends.surrounding_raises", retry=twice)
def surrounding_raises(ctx: TaskContext) -> str:
    return f"ran as {ctx.attempt}"


# --- bodies that return ---------------------------------------------------------------------------


@task("ends.returns")
def returns(ctx: TaskContext, value: Any = None) -> Any:
    note(ctx)
    return {"got": value}


class Answer(BaseModel):
    number: int


@task("ends.returns_model")
def returns_model(ctx: TaskContext) -> Answer:
    return Answer(number=7)


@task("ends.async")
async def asynchronous(ctx: TaskContext, value: int) -> int:
    note(ctx)
    await asyncio.sleep(0)
    return value + 1


@task("ends.async_raises", retry=twice)
async def asynchronous_raises(ctx: TaskContext) -> str:
    note(ctx)
    await asyncio.sleep(0)
    if ctx.attempt == 1:
        raise ValueError("async")
    return "after all"


@task("ends.reports")
def reports(ctx: TaskContext) -> str:
    note(ctx)
    ctx.attributes["colour"] = {"hue": 3}
    ctx.progress(1, 4, "begun")
    wait_for_file(f"go-{ctx.task_id}")
    ctx.attributes["size"] = 2
    ctx.progress(4, 4, "done")
    wait_for_file(f"go-on-{ctx.task_id}")
    return "reported"


@task("ends.large")
def large(ctx: TaskContext, text: str) -> str:
    note(ctx)
    return text[::-1]


@task("ends.waits_large")
def waits_large(ctx: TaskContext, text: str) -> str:
    note(ctx)
    wait_for_file(f"go-{ctx.task_id}")
    return text[::-1]


@task("ends.huge", retry=again)
def huge(ctx: TaskContext, size: int) -> str:
    note(ctx)
    return "x" * size


@task("ends.not_json", retry=again)
def not_json(ctx: TaskContext, what: str) -> Any:
    note(ctx)
    deep: list[Any] = []
    for _ in range(64):
        deep = [deep]
    given = {"set": {1, 2}, "nan": math.nan, "nul": "a\x00b", "object": object(), "deep": deep}
    return given[what]


@task("ends.prefixed")
def prefixed(ctx: TaskContext, number: int) -> int:
    note(ctx)
    return number


# --- bodies that raise ----------------------------------------------------------------------------


@task("ends.raises")
def raises(ctx: TaskContext) -> None:
    note(ctx)
    raise ValueError("no \x00 way")


@task("ends.raises_once", retry=again)
def raises_once(ctx: TaskContext) -> str:
    note(ctx)
    if ctx.attempt == 1:
        raise ValueError("not yet")
    return "second"


@task("ends.exhausts", retry=twice)
def exhausts(ctx: TaskContext) -> None:
    note(ctx)
    raise ConnectionError(f"attempt {ctx.attempt}")


@task("ends.gives_up", retry=Retry(max_attempts=3, backoff=SOON, give_up_on=(KeyError,)))
def gives_up(ctx: TaskContext) -> None:
    note(ctx)
    raise KeyError("hopeless")


@task("ends.retries_on", retry=Retry(max_attempts=3, backoff=SOON, retry_on=(OSError,)))
def retries_on(ctx: TaskContext) -> None:
    note(ctx)
    if ctx.attempt == 1:
        raise ConnectionError("worth it")
    raise ValueError("not worth it")


@task("ends.ignores", retry=again)
def ignores(ctx: TaskContext) -> None:
    note(ctx)
    raise Ignore("me")


@task("ends.rejects", retry=again)
def rejects(ctx: TaskContext) -> None:
    note(ctx)
    raise Reject("bad", requeue=False)


@task("ends.requeues")
def requeues(ctx: TaskContext) -> str:
    note(ctx)
    if ctx.attempt == 1:
        raise Reject("later", requeue=True)
    return "then"


@task("ends.celery_retry", retry=twice)
def celery_retry(ctx: TaskContext) -> str:
    note(ctx)
    if ctx.attempt == 1:
        raise CeleryRetry("as in plain Celery")
    return "again"


@task("ends.celery_retry_once")
def celery_retry_once(ctx: TaskContext) -> None:
    note(ctx)
    raise CeleryRetry("without a budget")


class Odd(Exception):
    """The exceptions that raise when they are looked at, each in its own way."""


class OddAttribute(Odd):
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class OddText(Odd):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class OddRepr(Odd):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class OddReduce(Odd):
    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


class OddClass(Odd):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class OddArguments(Odd):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


class OddBase(BaseException):
    pass


def _chain(length: int) -> BaseException:
    first = error = ValueError("chain")
    for number in range(length):
        error.__cause__ = ValueError(str(number))
        error = error.__cause__
    error.__cause__ = first
    return first


_ODD: dict[str, Callable[[], BaseException]] = {
    "attribute": lambda: OddAttribute("odd"),
    "text": lambda: OddText("odd"),
    "repr": lambda: OddRepr("odd"),
    "reduce": lambda: OddReduce("odd"),
    "class": lambda: OddClass("odd"),
    "arguments": lambda: OddArguments("odd", "one"),
    "base": lambda: OddBase("odd"),
    "generator exit": lambda: GeneratorExit("odd"),
    "unpicklable": lambda: Odd("odd", lambda: None),
    "group": lambda: BaseExceptionGroup("odd", [ExceptionGroup("inner", [OddText("odd")])]),
    "circle": lambda: _chain(2),
    "long": lambda: _chain(3000),
    "large": lambda: Odd("odd" * 3_000_000),
}


@task("ends.raises_odd")
def raises_odd(ctx: TaskContext, what: str, below: str = "") -> None:
    note(ctx)
    if below:
        raise ValueError("odd") from _ODD[below]()
    error = _ODD[what]()
    raise error


@task("ends.asks_celery")
def asks_celery(ctx: TaskContext, countdown: float | None = 0.05) -> int:
    """Retry as a body of plain Celery does, without a policy of the type."""
    note(ctx)
    if ctx.attempt < 3:
        current_task.retry(countdown=countdown, exc=KeyError("not yet"))
    return ctx.attempt


@task("ends.asks_celery_once")
def asks_celery_once(ctx: TaskContext) -> None:
    note(ctx)
    raise current_task.retry(countdown=0, max_retries=1, exc=KeyError("never"))


# --- what a body says -----------------------------------------------------------------------------

_SAID: dict[str, Callable[[], Exception]] = {
    "fail": lambda: Fail("enough"),
    "halt": lambda: Halt("look at me"),
    "cancel": lambda: Cancel("not needed"),
    "snooze": lambda: Snooze(SOON),
}


@task("ends.says", retry=again)
def says(ctx: TaskContext, what: str, how: str) -> Any:
    note(ctx)
    if what == "snooze" and ctx.attempt > 2:
        return ctx.attempts_left
    outcome = _SAID[what]()
    if how == "raised":
        raise outcome
    return outcome


# --- bodies that end their process ----------------------------------------------------------------


@task("ends.killed", retry=again)
def killed(ctx: TaskContext, times: int) -> str:
    note(ctx)
    if ctx.attempt <= times:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(LONG_SECONDS)
    return "survived"


@task("ends.exits_hard", retry=again)
def exits_hard(ctx: TaskContext, code: int) -> str:
    note(ctx)
    if ctx.attempt == 1:
        os._exit(code)
    return "survived"


@task("ends.out_of_memory", retry=again)
def out_of_memory(ctx: TaskContext, times: int) -> str:
    note(ctx)
    if ctx.attempt <= times:
        raise MemoryError("no room")
    return "survived"


@task("ends.sys_exit", retry=again)
def sys_exit(ctx: TaskContext, times: int) -> str:
    note(ctx)
    if ctx.attempt <= times:
        sys.exit(3)
    return "survived"


@task("ends.keyboard", retry=again)
def keyboard(ctx: TaskContext) -> str:
    note(ctx)
    if ctx.attempt == 1:
        raise KeyboardInterrupt
    return "survived"


@task("ends.crashes_and_raises", retry=twice)
def crashes_and_raises(ctx: TaskContext, how: str) -> int:
    """Crash, then raise, and return what is left of the budget."""
    note(ctx)
    if ctx.attempt == 1:
        _CRASHES[how]()
    if ctx.attempt == 2:
        raise ValueError(f"{ctx.attempts_left} left")
    return ctx.attempts_left


def _raise_memory_error() -> None:
    raise MemoryError("no room")


_CRASHES: dict[str, Callable[[], Any]] = {
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exits": lambda: os._exit(7),
    "sys.exit": lambda: sys.exit(3),
    "memory": _raise_memory_error,
}


# --- bodies that fork ------------------------------------------------------------------------


@task("ends.forks", retry=again)
def forks(ctx: TaskContext, how: str) -> Any:
    """Fork, and return the exit code of the copy, which leaves the body in its own way."""
    note(ctx)
    return _forked(ctx, how)


@task("ends.forks_async", retry=again)
async def forks_async(ctx: TaskContext, how: str) -> Any:
    note(ctx)
    await asyncio.sleep(0)
    return _forked(ctx, how)


@task("ends.forks_in_a_surrounding", retry=again)
def forks_in_a_surrounding(ctx: TaskContext, how: str) -> Any:
    """`know_the_run` has forked before the body, and its copy runs the body too."""
    if ctx.attributes.get("copy"):
        return _leave(how)
    note(ctx)
    return {"copy ended with": ctx.attributes["code"]}


def _forked(ctx: TaskContext, how: str) -> Any:
    if how == "multiprocessing":
        # As bodies do that may not have children in a pool process else.
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        process = multiprocessing.get_context("fork").Process(target=sys.exit, args=(5,))
        process.start()
        process.join()
        return {"copy ended with": process.exitcode}
    pid = os.fork()
    if pid == 0:
        return _leave(how)
    _, status = os.waitpid(pid, 0)
    return {"copy ended with": os.waitstatus_to_exitcode(status)}


def _leave(how: str) -> str:
    if how == "exits":
        sys.exit(5)
    if how == "raises":
        raise ValueError("in the copy")
    if how == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LONG_SECONDS)
    if how == "says":
        raise Fail("in the copy")
    return "of the copy"


# --- bodies that take long ------------------------------------------------------------------------


@task("ends.hard_limit", timeout=1.0, retry=twice)
def hard_limit(ctx: TaskContext, times: int) -> str:
    note(ctx)
    if ctx.attempt <= times:
        time.sleep(LONG_SECONDS)
    return "in time"


@task("ends.soft_limit", timeout=30.0, soft_timeout=1.0, retry=twice)
def soft_limit(ctx: TaskContext, times: int) -> str:
    note(ctx)
    if ctx.attempt <= times:
        time.sleep(LONG_SECONDS)
    return "in time"


@task("ends.soft_limit_caught", timeout=30.0, soft_timeout=1.0)
def soft_limit_caught(ctx: TaskContext) -> str:
    note(ctx)
    try:
        time.sleep(LONG_SECONDS)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "never"


@task("ends.waits")
def waits(ctx: TaskContext) -> str:
    """Run until the file `go` of this task exists."""
    note(ctx)
    wait_for_file(f"go-{ctx.task_id}")
    return "went"


@task("ends.waits_each", retry=again)
def waits_each(ctx: TaskContext) -> int:
    """Run until the file `go` of this attempt exists."""
    note(ctx)
    wait_for_file(f"go-{ctx.task_id}-{ctx.attempt}")
    return ctx.attempt


@task("ends.waits_each_and_raises", retry=again)
def waits_each_and_raises(ctx: TaskContext) -> int:
    """Raise once the file `go` exists, and return at the second attempt."""
    note(ctx)
    wait_for_file(f"go-{ctx.task_id}")
    if ctx.attempt == 1:
        raise ValueError("once")
    return ctx.attempt


@task("ends.agrees")
def agrees(ctx: TaskContext) -> str:
    """Stop when asked."""
    note(ctx)
    wait_for_file(f"go-{ctx.task_id}", lambda: ctx.cancel_requested)
    if ctx.cancel_requested:
        raise Cancel("as you wish")
    return "never asked"


@task("ends.agrees_by_returning")
def agrees_by_returning(ctx: TaskContext) -> str:
    note(ctx)
    wait_for_file(f"go-{ctx.task_id}", lambda: ctx.cancel_requested)
    return "done anyway"


@task("ends.stubborn", retry=again)
def stubborn(ctx: TaskContext) -> None:
    """Never ask."""
    note(ctx)
    time.sleep(LONG_SECONDS)
