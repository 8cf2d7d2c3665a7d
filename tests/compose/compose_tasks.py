"""Task types of the tests, mounted as a user mounts theirs."""

import time

from taskdb import TaskContext, task


@task("compose.nap", timeout=600)
def nap(ctx: TaskContext, number: int, seconds: float = 0.3) -> int:
    """Take a while, and answer the number."""
    time.sleep(seconds)
    return number


@task("compose.keep")
def keep(ctx: TaskContext, secret: str) -> str:
    """Answer what nobody but the row may show."""
    return secret


@task("compose.fail")
def fail(ctx: TaskContext) -> None:
    message = "it was to fail"
    raise ValueError(message)
