"""Bodies that find out whether they are alone, or with how many others."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.worker_tasks import SOON, folder

from taskdb import Retry, TaskContext, task

KILLED = 10
"""The one whose process dies while it has the mutex."""


@task("limit.alone", retry=Retry(max_attempts=2, backoff=SOON, jitter=0))
def alone(ctx: TaskContext, number: int) -> None:
    with _lock("alone") as is_mine:
        _note("alone.txt", f"{number} {ctx.attempt} {'alone' if is_mine else 'not alone'}")
        if number == KILLED and ctx.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)


@task("limit.few", max_running=2)
def few(number: int) -> int:
    """One of two places, whichever is free; with a third one there is none."""
    for place in range(2):
        with _lock(f"place-{place}") as is_mine:
            if is_mine:
                time.sleep(0.02)
                return place
    message = f"no place is free for {number}"
    raise RuntimeError(message)


@task("limit.paused")
def paused() -> str:
    return "ran"


@contextmanager
def _lock(name: str) -> Iterator[bool]:
    """Whether nobody else has it; the kernel lets go of it for a process that dies."""
    file = os.open(folder() / f"{name}.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_mine = True
    except BlockingIOError:
        is_mine = False
    try:
        yield is_mine
    finally:
        os.close(file)


def _note(name: str, line: str) -> None:
    file = os.open(folder() / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def notes(where: Path) -> list[list[str]]:
    """Number, attempt and finding of every run, in order of their begin."""
    return [line.split(maxsplit=2) for line in (where / "alone.txt").read_text().splitlines()]
